// SPDX-License-Identifier: GPL-2.0

//! The calls on offsets, which QEMU has had since version 8, over a memfd, a socket and memory.

use qemufile::{Buffer, Error, Fd, Mode, QemuFile, Result, Writer, IO_BUF_SIZE};
use rustix::fs::MemfdFlags;
use std::{
    fs::File,
    io::{self, Read, SeekFrom, Write},
    os::{
        fd::OwnedFd,
        unix::{fs::FileExt, net::UnixStream},
    },
};

fn memfd(bytes: &[u8]) -> Result<File> {
    let fd = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC).map_err(io::Error::from)?;
    let file = File::from(fd);
    file.write_all_at(bytes, 0)?;
    Ok(file)
}

fn over(file: &File, mode: &str) -> Result<QemuFile<'static, Fd>> {
    QemuFile::fdopen(OwnedFd::from(file.try_clone()?), mode)
}

/// Other bytes at each place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 7) >> 3) as u8).collect()
}

#[test]
fn bytes_put_at_an_offset_come_after_what_was_staged() -> Result {
    let file = memfd(b"")?;
    let mut put = over(&file, "wb")?;
    put.put_be32(0x5145_564d)?;
    put.put_buffer_at(b"page", 4096)?;
    put.put_byte(3)?;
    assert_eq!((put.ftell_fast(), put.transferred()), (5, 9));
    put.fclose()?;
    let mut bytes = [0; 5];
    file.read_exact_at(&mut bytes, 0)?;
    assert_eq!(&bytes, b"QEVM\x03");
    file.read_exact_at(&mut bytes[..4], 4096)?;
    assert_eq!(&bytes[..4], b"page");
    Ok(())
}

#[test]
fn bytes_got_at_an_offset_leave_the_position() -> Result {
    let bytes = pattern(3 * IO_BUF_SIZE);
    let file = memfd(&bytes)?;
    let mut get = over(&file, "rb")?;
    let first = get.get_be16()?;
    let mut page = [0; 4096];
    get.get_buffer_at(&mut page, 50_000)?;
    assert_eq!(page, bytes[50_000..54_096]);
    assert_eq!(first.to_be_bytes(), bytes[..2]);
    assert_eq!(get.get_be16()?.to_be_bytes(), bytes[2..4]);
    assert_eq!(get.ftell_fast(), 4);
    // A part is none: QEMU takes it for an error, too.
    let end = bytes.len() as u64;
    assert_eq!(get.get_buffer_at(&mut page, end - 10), Err(Error::IO));
    assert_eq!(get.get_error(), Err(Error::IO));
    Ok(())
}

#[test]
fn a_reader_goes_on_at_its_offset() -> Result {
    let bytes = pattern(3 * IO_BUF_SIZE);
    let file = memfd(&bytes)?;
    let mut get = over(&file, "rb")?;
    get.get_be64()?;
    // Not where reading ahead has come to.
    assert_eq!(get.get_offset()?, 8);
    get.set_offset(SeekFrom::Start(70_000))?;
    assert_eq!(get.get_offset()?, 70_000);
    assert_eq!(get.get_byte()?, bytes[70_000]);
    get.set_offset(SeekFrom::Current(-1))?;
    assert_eq!(get.get_byte()?, bytes[70_000]);
    get.set_offset(SeekFrom::End(-1))?;
    assert_eq!(get.get_byte()?, bytes[bytes.len() - 1]);
    // What was got is counted; where, is not.
    assert_eq!(get.ftell_fast(), 11);
    assert_eq!(
        get.set_offset(SeekFrom::Current(i64::MIN)),
        Err(Error::INVALID)
    );
    assert_eq!(get.get_error(), Ok(()));
    Ok(())
}

#[test]
fn a_writer_goes_on_at_its_offset() -> Result {
    let file = memfd(b"")?;
    let mut put = over(&file, "wb")?;
    put.put_be16(1)?;
    put.set_offset(SeekFrom::Current(6))?;
    assert_eq!(put.get_offset()?, 8);
    put.put_be16(2)?;
    assert_eq!((put.get_offset()?, put.ftell()?), (10, 4));
    let mut bytes = Vec::new();
    file.take(0).into_inner().read_to_end(&mut bytes)?;
    // The memfd's own position is where the last byte was put.
    assert_eq!(bytes, b"");
    Ok(())
}

#[test]
fn a_backend_without_offsets_is_an_error_that_stays() -> Result {
    let mut put = QemuFile::new(Writer(Vec::new()), Mode::Write);
    assert_eq!(put.get_offset(), Err(Error::IO));
    assert_eq!(put.put_byte(1), Err(Error::IO));
    let (one, _other) = UnixStream::pair()?;
    let mut put = QemuFile::fdopen(one.into(), "wb")?;
    let seek = put.set_offset(SeekFrom::Start(1));
    assert_eq!(seek.map_err(Error::raw_os_error), Err(29)); // ESPIPE
    assert!(put.get_error().is_err());
    Ok(())
}

#[test]
fn the_wrong_mode_is_refused() -> Result {
    let file = memfd(b"x")?;
    let mut get = over(&file, "rb")?;
    assert_eq!(get.put_buffer_at(b"y", 0), Err(Error::BAD_ACCESS));
    let mut put = over(&file, "wb")?;
    assert_eq!(put.get_buffer_at(&mut [0], 0), Err(Error::BAD_ACCESS));
    assert_eq!(put.get_to_fd(&file, 1), Err(Error::BAD_ACCESS));
    Ok(())
}

#[test]
fn memory_has_offsets() -> Result {
    let mut put = QemuFile::bufopen("w", Vec::new())?;
    put.put_be32(1)?;
    put.put_buffer_at(b"abc", 6)?;
    put.put_byte(9)?;
    assert_eq!(put.buf_get()?, b"\0\0\0\x01\x09\0abc");
    let mut get = QemuFile::new(Buffer::from(b"migration".to_vec()), Mode::Read);
    get.set_offset(SeekFrom::Start(4))?;
    assert_eq!(get.get_byte()?, b'a');
    let mut tail = [0; 2];
    get.get_buffer_at(&mut tail, 7)?;
    assert_eq!((&tail, get.get_byte()?), (b"on", b't'));
    Ok(())
}

#[test]
fn bytes_go_to_a_descriptor() -> Result {
    let bytes = pattern(2 * IO_BUF_SIZE + 100);
    let mut get = over(&memfd(&bytes)?, "rb")?;
    get.get_be16()?;
    let to = memfd(b"")?;
    let size = bytes.len() as u64 - 12;
    assert_eq!(get.get_to_fd(&to, size)?, size);
    assert_eq!(get.ftell_fast(), size + 2);
    let mut have = vec![0; size as usize];
    to.read_exact_at(&mut have, 0)?;
    assert_eq!(have, bytes[2..bytes.len() - 10]);
    // Of more bytes than there are, those that there are.
    assert_eq!(get.get_to_fd(&to, 20)?, 10);
    assert_eq!(get.get_error(), Err(Error::IO));
    assert_eq!(to.metadata()?.len(), size + 10);
    Ok(())
}

#[test]
fn what_a_descriptor_does_not_take_is_still_to_be_got() -> Result {
    let mut get = over(&memfd(b"migration")?, "rb")?;
    let (reader, writer) = rustix::pipe::pipe().map_err(io::Error::from)?;
    drop(reader);
    let result = get.get_to_fd(&writer, 5);
    assert_eq!(result.map_err(Error::raw_os_error), Err(32)); // EPIPE
    assert_eq!(get.get_error(), Ok(()));
    assert_eq!(get.get_byte()?, b'm');
    Ok(())
}

#[test]
fn a_shut_down_file_is_at_an_error() -> Result {
    let (one, mut other) = UnixStream::pair()?;
    let mut put = QemuFile::fdopen(one.into(), "wb")?;
    put.put_byte(1)?;
    put.fflush()?;
    put.shutdown()?;
    assert_eq!(put.put_byte(2), Err(Error::IO));
    let mut bytes = Vec::new();
    other.read_to_end(&mut bytes)?;
    assert_eq!(bytes, [1]);
    assert!(other.write_all(b"x").is_err());
    // One that cannot be shut down, too.
    let mut put = over(&memfd(b"")?, "wb")?;
    assert!(put.shutdown().is_err());
    assert_eq!(put.put_byte(1), Err(Error::IO));
    Ok(())
}
