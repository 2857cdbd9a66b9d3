// SPDX-License-Identifier: GPL-2.0

//! Files over backends, by what they promise.

use qemufile::{
    Backend, Buffer, Error, Fd, Mode, QemuFile, RamHooks, Reader, Result, SavePage, Writer,
    IO_BUF_SIZE,
};
use std::{
    io::{self, IoSlice, Write},
    os::fd::{AsRawFd, OwnedFd},
};

static BLOCK: [u8; 3 * IO_BUF_SIZE] = [7; 3 * IO_BUF_SIZE];

fn no_space() -> Error {
    Error::from_raw_os_error(28)
}

/// A backend that moves few bytes at a time, fails when it is told to, and counts its calls.
#[derive(Default)]
struct Slow {
    bytes: Vec<u8>,
    read: usize,
    most: usize,
    fail: Option<(usize, Error)>,
    calls: usize,
    slices: usize,
    closed: Option<Error>,
    saved: Option<Result<SavePage>>,
    flags: u64,
}

impl Slow {
    fn with(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            most: usize::MAX,
            ..Self::default()
        }
    }

    fn reader(bytes: &[u8]) -> QemuFile<'static, Self> {
        QemuFile::new(Self::with(bytes), Mode::Read)
    }

    fn writer<'a>() -> QemuFile<'a, Self> {
        QemuFile::new(Self::with(b""), Mode::Write)
    }

    fn call(&mut self) -> io::Result<()> {
        match &mut self.fail {
            Some((0, error)) => {
                let error = *error;
                self.fail = None;
                return Err(error.into());
            }
            Some((after, _)) => *after -= 1,
            None => (),
        }
        self.calls += 1;
        Ok(())
    }
}

impl Backend for Slow {
    fn writev(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.call()?;
        self.slices = slices.len();
        let mut done = 0;
        for slice in slices {
            let len = slice.len().min(self.most - done);
            self.bytes.extend_from_slice(&slice[..len]);
            done += len;
        }
        Ok(done)
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.call()?;
        let len = buf.len().min(self.most).min(self.bytes.len() - self.read);
        buf[..len].copy_from_slice(&self.bytes[self.read..self.read + len]);
        self.read += len;
        Ok(len)
    }

    fn close(&mut self) -> io::Result<()> {
        self.closed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn hooks(&mut self) -> Option<&mut dyn RamHooks> {
        self.saved.is_some().then_some(self)
    }
}

impl RamHooks for Slow {
    fn before_ram_iterate(&mut self, flags: u64) -> Result {
        self.flags = flags;
        Ok(self.call()?)
    }

    fn after_ram_iterate(&mut self, flags: u64) -> Result {
        self.flags = flags;
        Ok(self.call()?)
    }

    fn hook_ram_load(&mut self, flags: u64) -> Result {
        self.flags = flags;
        Ok(self.call()?)
    }

    fn save_page(&mut self, block_offset: u64, offset: u64, size: u64) -> Result<SavePage> {
        self.flags = block_offset + offset + size;
        self.saved.unwrap_or(Ok(SavePage::NotSupported))
    }
}

#[test]
fn values_are_big_endian() -> Result {
    let mut file = QemuFile::bufopen("w", Vec::new())?;
    file.put_byte(0x01)?;
    file.put_be16(0x0203)?;
    file.put_be32(0x0405_0607)?;
    file.put_be64(0x0809_0a0b_0c0d_0e0f)?;
    file.put_counted_string("ram")?;
    assert_eq!(file.bytes_xfer(), 19);
    let bytes = file.buf_get()?.to_vec();
    assert_eq!(
        bytes,
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 3, b'r', b'a', b'm']
    );
    assert_eq!(file.fclose()?.bytes(), bytes);

    let mut file = QemuFile::bufopen("r", bytes)?;
    assert_eq!(file.get_byte()?, 0x01);
    assert_eq!(file.get_be16()?, 0x0203);
    assert_eq!(file.get_be32()?, 0x0405_0607);
    assert_eq!(file.get_be64()?, 0x0809_0a0b_0c0d_0e0f);
    assert_eq!(file.get_counted_string()?, b"ram");
    assert_eq!((file.ftell()?, file.bytes_xfer()), (19, 0));
    Ok(())
}

#[test]
fn a_buffer_that_is_written_begins_empty() -> Result {
    let mut file = QemuFile::bufopen("w", b"old".to_vec())?;
    file.put_byte(b'n')?;
    assert_eq!(file.buf_get()?, b"n");
    assert_eq!(
        QemuFile::bufopen("rw", Vec::new()).err(),
        Some(Error::INVALID)
    );
    Ok(())
}

#[test]
fn a_descriptor_carries_a_stream() -> Result {
    let (reader, writer) = rustix::pipe::pipe().map_err(io::Error::from)?;
    let number = writer.as_raw_fd();
    let mut out = QemuFile::fdopen(writer, "wb")?;
    assert_eq!(out.get_fd().map(|fd| fd.as_raw_fd()), Some(number));
    let thread = std::thread::spawn(move || -> Result {
        for i in 0..100_000 {
            out.put_be64(i)?;
        }
        out.put_buffer_async(&BLOCK)?;
        out.fclose()?;
        Ok(())
    });
    let mut file = QemuFile::fdopen(reader, "rb")?;
    for i in 0..100_000 {
        assert_eq!(file.get_be64()?, i);
    }
    let mut bytes = vec![0; BLOCK.len()];
    assert_eq!(file.get_buffer(&mut bytes)?, BLOCK.len());
    assert_eq!(bytes, BLOCK);
    assert_eq!(file.skip(1)?, 0);
    assert_eq!(file.get_byte(), Err(Error::IO));
    assert_eq!(file.fclose().err(), Some(Error::IO));
    thread.join().expect("no panic")
}

#[test]
fn a_pipe_without_a_reader_is_an_error_that_stays() -> Result {
    let (reader, writer) = rustix::pipe::pipe().map_err(io::Error::from)?;
    drop(reader);
    let mut file = QemuFile::fdopen(writer, "wb")?;
    file.put_byte(1)?;
    assert_eq!(file.fflush().map_err(Error::raw_os_error), Err(32));
    assert_eq!(file.put_byte(1).map_err(Error::raw_os_error), Err(32));
    let (reader, _) = rustix::pipe::pipe().map_err(io::Error::from)?;
    assert_eq!(QemuFile::fdopen(reader, "r").err(), Some(Error::INVALID));
    Ok(())
}

#[test]
fn a_descriptor_without_data_is_repeated() -> Result {
    use rustix::pipe::{pipe_with, PipeFlags};
    let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).map_err(io::Error::from)?;
    let mut writer = std::fs::File::from(writer);
    let mut file = QemuFile::fdopen(reader, "rb")?;
    assert_eq!(file.get_be32(), Err(Error::AGAIN));
    writer.write_all(b"QE")?;
    assert_eq!(file.get_be32(), Err(Error::AGAIN));
    assert_eq!((file.get_error(), file.ftell()?), (Ok(()), 0));
    writer.write_all(b"MU")?;
    assert_eq!(file.get_be32()?, 0x5145_4d55);
    let fd: OwnedFd = file.fclose()?.into();
    drop(fd);
    Ok(())
}

#[test]
fn readers_and_writers_are_backends() -> Result {
    let mut file = QemuFile::new(Writer(Vec::new()), Mode::Write);
    file.put_be32(0x5145_4d55)?;
    assert!(file.get_fd().is_none());
    let Writer(bytes) = file.fclose()?;
    let mut file = QemuFile::new(Reader(&bytes[..]), Mode::Read);
    assert_eq!(file.get_be32()?, 0x5145_4d55);
    // What a backend cannot do.
    let mut file = QemuFile::new(Reader(&b""[..]), Mode::Write);
    file.put_byte(1)?;
    assert_eq!(file.fflush(), Err(Error::IO));
    let mut file = QemuFile::new(Writer(Vec::new()), Mode::Read);
    assert_eq!(file.get_byte(), Err(Error::IO));
    Ok(())
}

#[test]
fn a_file_is_for_one_thing() -> Result {
    let mut file = Slow::reader(b"QEMU");
    assert!(!file.is_writable());
    assert_eq!(file.put_byte(1), Err(Error::BAD_ACCESS));
    assert_eq!(file.put_buffer(b"1"), Err(Error::BAD_ACCESS));
    assert_eq!(file.put_buffer_async(b"1"), Err(Error::BAD_ACCESS));
    let mut file = Slow::writer();
    assert!(file.is_writable());
    assert_eq!(file.get_byte(), Err(Error::BAD_ACCESS));
    assert_eq!(file.peek_byte(0), Err(Error::BAD_ACCESS));
    assert_eq!(file.skip(1), Err(Error::BAD_ACCESS));
    assert_eq!(file.get_buffer(&mut [0]), Err(Error::BAD_ACCESS));
    assert_eq!(file.get_error(), Ok(()));
    Ok(())
}

#[test]
fn the_first_error_stays() {
    let mut file = Slow::writer();
    file.set_error(Error::IO);
    file.set_error(no_space());
    assert_eq!(file.get_error(), Err(Error::IO));
    assert_eq!(file.put_be32(1), Err(Error::IO));
    assert_eq!(file.ftell(), Err(Error::IO));
    assert!(file.rate_limit());
    assert_eq!(file.fclose().err(), Some(Error::IO));
}

#[test]
fn closing_says_what_went_wrong_first() -> Result {
    let mut file = Slow::writer();
    file.backend_mut().closed = Some(no_space());
    assert_eq!(file.fclose().err(), Some(no_space()));
    let mut file = Slow::writer();
    file.backend_mut().closed = Some(no_space());
    file.backend_mut().fail = Some((0, Error::IO));
    file.put_byte(1)?;
    assert_eq!(file.fclose().err(), Some(Error::IO));
    Ok(())
}

#[test]
fn a_backend_is_called_when_the_staging_buffer_is_full() -> Result {
    let mut file = Slow::writer();
    for _ in 0..IO_BUF_SIZE / 8 {
        file.put_be64(0)?;
    }
    assert_eq!(file.backend().calls, 0);
    assert_eq!(file.ftell_fast(), IO_BUF_SIZE as u64);
    file.put_byte(0)?;
    assert_eq!(file.backend().calls, 1);
    assert_eq!(file.ftell()?, IO_BUF_SIZE as u64 + 1);
    assert_eq!(file.backend().calls, 2);
    assert_eq!(file.put_buffer(&BLOCK)?, BLOCK.len());
    file.fflush()?;
    assert_eq!(file.backend().calls, 5);
    for _ in 0..32 {
        file.put_be64(1)?;
        file.put_buffer_async(&BLOCK[..4096])?;
    }
    file.fflush()?;
    assert_eq!((file.backend().calls, file.backend().slices), (6, 64));
    Ok(())
}

#[test]
fn what_may_be_put_again_is_not_lost() -> Result {
    let mut file = Slow::writer();
    assert_eq!(file.put_buffer(&BLOCK[..IO_BUF_SIZE])?, IO_BUF_SIZE);
    file.backend_mut().fail = Some((0, Error::AGAIN));
    assert_eq!(file.put_be16(1), Err(Error::AGAIN));
    file.backend_mut().most = 1000;
    file.backend_mut().fail = Some((3, Error::AGAIN));
    assert_eq!(file.put_buffer(b"x"), Err(Error::AGAIN));
    file.backend_mut().most = usize::MAX;
    file.put_be16(0x5145)?;
    file.fflush()?;
    assert_eq!(file.backend().bytes.len(), IO_BUF_SIZE + 2);
    assert_eq!(&file.backend().bytes[IO_BUF_SIZE..], b"QE");
    // A part of a long run.
    file.backend_mut().fail = Some((1, Error::AGAIN));
    let done = file.put_buffer(&BLOCK)?;
    assert!(done > 0 && done < BLOCK.len());
    assert_eq!(file.put_buffer(&BLOCK[done..])?, BLOCK.len() - done);
    assert_eq!(file.ftell()?, (IO_BUF_SIZE + 2 + BLOCK.len()) as u64);
    // And what is lost, is.
    file.backend_mut().fail = Some((0, no_space()));
    file.put_byte(1)?;
    assert_eq!(file.fflush(), Err(no_space()));
    assert_eq!(file.put_buffer(&BLOCK), Err(no_space()));
    Ok(())
}

#[test]
fn reading_ahead_is_32_kib() -> Result {
    let mut file = Slow::reader(&BLOCK);
    for _ in 0..IO_BUF_SIZE / 8 {
        file.get_be64()?;
    }
    assert_eq!(file.backend().calls, 1);
    file.get_byte()?;
    assert_eq!(file.backend().calls, 2);
    assert_eq!(file.peek_byte(IO_BUF_SIZE - 1)?, 7);
    assert_eq!(file.peek_byte(IO_BUF_SIZE), Err(Error::INVALID));
    assert_eq!(
        file.peek_buffer(&mut [0; 2], usize::MAX),
        Err(Error::INVALID)
    );
    assert_eq!(
        file.skip(u64::MAX)?,
        BLOCK.len() as u64 - IO_BUF_SIZE as u64 - 1
    );
    assert_eq!(file.get_error(), Ok(()));
    Ok(())
}

#[test]
fn peeking_leaves_the_position() -> Result {
    let mut file = Slow::reader(b"migration");
    file.backend_mut().most = 1;
    let mut bytes = [0; 4];
    assert_eq!(file.peek_buffer(&mut bytes, 5)?, 4);
    assert_eq!(&bytes, b"tion");
    assert_eq!(file.peek_byte(1)?, b'i');
    assert_eq!(file.peek_buffer(&mut [], 0)?, 0);
    assert_eq!((file.ftell()?, file.ftell_fast()), (0, 0));
    // QEMU gives "EFGHGH" for such a get: it copies from an index that is no longer right.
    assert_eq!(file.skip(2)?, 2);
    let mut bytes = [0; 10];
    assert_eq!(file.get_buffer(&mut bytes)?, 7);
    assert_eq!(&bytes[..7], b"gration");
    assert_eq!(file.get_error(), Err(Error::IO));
    assert_eq!(file.get_buffer(&mut bytes), Err(Error::IO));
    Ok(())
}

#[test]
fn a_counted_string_is_whole_or_not_at_all() -> Result {
    let mut file = Slow::writer();
    assert_eq!(
        file.put_counted_string(&"x".repeat(256)),
        Err(Error::INVALID)
    );
    file.put_counted_string(&"x".repeat(255))?;
    let bytes = file.fclose()?.bytes;
    let mut file = Slow::reader(&bytes);
    assert_eq!(file.get_counted_string()?.len(), 255);
    let mut file = Slow::reader(&bytes[..100]);
    assert_eq!(file.get_counted_string(), Err(Error::IO));
    assert_eq!(file.ftell_fast(), 0);
    Ok(())
}

#[test]
fn the_limit_is_passed_by_more_bytes_only() -> Result {
    let mut file = Slow::writer();
    file.put_be64(1)?;
    assert!(!file.rate_limit());
    file.set_rate_limit(10);
    assert_eq!((file.get_rate_limit(), file.bytes_xfer()), (10, 8));
    file.put_be16(2)?;
    assert!(!file.rate_limit());
    file.put_byte(3)?;
    assert!(file.rate_limit());
    file.fflush()?;
    assert_eq!(file.bytes_xfer(), 11);
    file.reset_rate_limit();
    assert!(!file.rate_limit());
    file.acct_rate_limit(11);
    assert!(file.rate_limit());
    // What is lost does not count.
    file.reset_rate_limit();
    file.backend_mut().fail = Some((0, no_space()));
    file.put_be64(1)?;
    assert_eq!(file.fflush(), Err(no_space()));
    assert_eq!(file.bytes_xfer(), 0);
    Ok(())
}

#[test]
fn without_hooks_there_is_nothing_but_einval() -> Result {
    let mut file = QemuFile::new(Buffer::default(), Mode::Write);
    file.ram_control_before_iterate(1)?;
    file.ram_control_after_iterate(2)?;
    assert_eq!(file.ram_control_save_page(1, 2, 3)?, SavePage::NotSupported);
    assert_eq!(file.get_error(), Ok(()));
    assert_eq!(file.ram_control_load_hook(3), Err(Error::INVALID));
    assert_eq!(file.get_error(), Err(Error::INVALID));
    Ok(())
}

#[test]
fn hooks_may_be_missing() {
    struct None;
    impl RamHooks for None {}
    assert_eq!(None.before_ram_iterate(1), Ok(()));
    assert_eq!(None.after_ram_iterate(1), Ok(()));
    assert_eq!(None.hook_ram_load(1), Err(Error::INVALID));
    assert_eq!(None.save_page(1, 2, 3), Ok(SavePage::NotSupported));
}

#[test]
fn a_hook_gets_its_flags_after_what_was_put() -> Result {
    let mut file = Slow::writer();
    file.backend_mut().saved = Some(Ok(SavePage::NotSupported));
    file.put_buffer(b"QEMU")?;
    file.ram_control_before_iterate(1)?;
    assert_eq!(file.backend().flags, 1);
    assert_eq!(file.backend().bytes, b"QEMU");
    file.ram_control_after_iterate(2)?;
    assert_eq!(file.backend().flags, 2);
    file.ram_control_load_hook(3)?;
    assert_eq!(file.backend().flags, 3);
    file.backend_mut().fail = Some((0, no_space()));
    assert_eq!(file.ram_control_before_iterate(4), Err(no_space()));
    assert_eq!(file.ram_control_after_iterate(5), Err(no_space()));
    assert_eq!(file.backend().flags, 4);
    Ok(())
}

#[test]
fn what_becomes_of_a_page_is_counted() -> Result {
    let mut file = Slow::writer();
    let saves = |file: &mut QemuFile<'_, Slow>, saved| {
        file.backend_mut().saved = Some(saved);
        file.ram_control_save_page(0, 4096, 4096)
    };
    saves(&mut file, Ok(SavePage::NotSupported))?;
    assert_eq!((file.ftell()?, file.bytes_xfer()), (0, 0));
    saves(&mut file, Ok(SavePage::Delayed))?;
    assert_eq!((file.ftell()?, file.bytes_xfer()), (0, 4096));
    saves(&mut file, Ok(SavePage::Sent(100)))?;
    assert_eq!((file.ftell()?, file.bytes_xfer()), (100, 8192));
    assert_eq!(file.backend().flags, 8192);
    assert_eq!(saves(&mut file, Err(no_space())), Err(no_space()));
    assert_eq!(
        (file.get_error(), file.bytes_xfer()),
        (Err(no_space()), 8192)
    );
    Ok(())
}

#[test]
fn a_descriptor_is_given_back() -> Result {
    let (reader, _writer) = rustix::pipe::pipe().map_err(io::Error::from)?;
    let number = reader.as_raw_fd();
    let fd: OwnedFd = Fd::from(reader).into();
    assert_eq!(fd.as_raw_fd(), number);
    Ok(())
}
