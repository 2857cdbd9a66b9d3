// SPDX-License-Identifier: GPL-2.0

//! Files over a buffer. Their bytes go straight into its chunks, and come straight from there.

use super::{
    mode::Mode,
    Ops,
    QemuFile, //
};
use crate::sized_buffer::SizedBuffer;
use kernel::prelude::*;

/// What a file over a buffer wants of it: what a [`SizedBuffer`] has.
pub trait Buffer {
    /// The length in bytes.
    fn length(&self) -> u64;

    /// Copies bytes from `pos` on, and returns how many: fewer than asked for only at the end.
    fn read_at(&self, pos: u64, bytes: &mut [u8]) -> usize;

    /// Writes bytes to `pos` and after, and returns how many, at least one, or the error that kept
    /// it from that.
    fn write_at(&mut self, pos: u64, bytes: &[u8]) -> Result<usize>;
}

impl Buffer for SizedBuffer {
    fn length(&self) -> u64 {
        self.len()
    }

    fn read_at(&self, pos: u64, bytes: &mut [u8]) -> usize {
        self.read_at(pos, bytes)
    }

    fn write_at(&mut self, pos: u64, bytes: &[u8]) -> Result<usize> {
        self.write_at(pos, bytes)
    }
}

impl<B: Buffer + ?Sized> Buffer for &mut B {
    fn length(&self) -> u64 {
        (**self).length()
    }

    fn read_at(&self, pos: u64, bytes: &mut [u8]) -> usize {
        (**self).read_at(pos, bytes)
    }

    fn write_at(&mut self, pos: u64, bytes: &[u8]) -> Result<usize> {
        (**self).write_at(pos, bytes)
    }
}

/// The backend of a file over a buffer: the twin of `QEMUBuffer`, `buf_read_ops` and
/// `buf_write_ops`.
pub struct Buf<B> {
    buffer: B,
    mode: Mode,
}

impl<B: Buffer> Ops for Buf<B> {
    const STAGED: bool = false;

    fn is_writable(&self) -> bool {
        self.mode == Mode::Write
    }

    fn is_readable(&self) -> bool {
        self.mode == Mode::Read
    }

    /// The twin of `buf_put_buffer`.
    fn put_buffer(&mut self, buf: &[u8], pos: u64) -> Result<usize> {
        self.buffer.write_at(pos, buf)
    }

    /// The twin of `buf_get_buffer`.
    fn get_buffer(&mut self, buf: &mut [u8], pos: u64) -> Result<usize> {
        Ok(self.buffer.read_at(pos, buf))
    }

    fn skip_buffer(&mut self, size: u64, pos: u64) -> Result<u64> {
        Ok(self.buffer.length().saturating_sub(pos).min(size))
    }

    /// The twin of `buf_close`. A buffer that is the file's own is freed with the file.
    fn close(&mut self) -> Result<u32> {
        Ok(0)
    }
}

/// Makes a file over `buffer`, to be read (`"r"`) or written (`"w"`).
///
/// The twin of `qemu_bufopen`. Where that makes a buffer if it is given none, the caller gives a
/// new one; where it is given one that stays the caller's, the caller gives a `&mut` to it. Fails
/// with [`EINVAL`] for another mode.
pub fn bufopen<'a, B: Buffer>(mode: &[u8], buffer: B) -> Result<QemuFile<'a, Buf<B>>> {
    let mode = Mode::of_buffer(mode)?;
    Ok(QemuFile::fopen_ops(Buf { buffer, mode }))
}

impl<B: Buffer> QemuFile<'_, Buf<B>> {
    /// Flushes, and returns the buffer.
    ///
    /// The twin of `qemu_buf_get`. Fails as [`Self::fflush`] does.
    pub fn buf_get(&mut self) -> Result<&B> {
        self.fflush()?;
        Ok(&self.ops.buffer)
    }
}

#[kunit_tests(qemufile_qemu_file_buf)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_got() -> Result {
        let mut file = bufopen(b"w", SizedBuffer::new())?;
        file.put_byte(0x12)?;
        file.put_be16(0x1234)?;
        file.put_be32(0x1234_5678)?;
        file.put_be64(0x1234_5678_9abc_def0)?;
        assert_eq!(file.put_buffer(b"section")?, 7);
        let copy = file.buf_get()?.try_clone()?;
        assert_eq!(file.fclose()?, 0);

        let mut file = bufopen(b"r", copy)?;
        assert_eq!(file.get_byte()?, 0x12);
        assert_eq!(file.get_be16()?, 0x1234);
        assert_eq!(file.get_be32()?, 0x1234_5678);
        assert_eq!(file.get_be64()?, 0x1234_5678_9abc_def0);
        let mut bytes = [0; 7];
        assert_eq!(file.get_buffer(&mut bytes)?, 7);
        assert_eq!(&bytes, b"section");
        assert_eq!(file.ftell()?, 22);
        Ok(())
    }

    #[test]
    fn bytes_are_in_the_buffer_at_once() -> Result {
        let mut buffer = SizedBuffer::new();
        let mut file = bufopen(b"w", &mut buffer)?;
        file.put_be16(0x5152)?;
        drop(file);
        let mut bytes = [0; 3];
        assert_eq!(buffer.read_at(0, &mut bytes), 2);
        assert_eq!(&bytes, b"QR\0");
        let mut file = bufopen(b"r", &mut buffer)?;
        assert_eq!(file.get_byte()?, b'Q');
        assert_eq!(file.skip(2)?, 1);
        Ok(())
    }

    #[test]
    fn a_file_is_for_one_thing() -> Result {
        assert!(bufopen(b"rb", SizedBuffer::new()).is_err());
        let mut writer = bufopen(b"w", SizedBuffer::new())?;
        assert!(writer.is_writable());
        assert_eq!(writer.get_byte(), Err(EBADF));
        assert_eq!(writer.skip(1), Err(EBADF));
        let mut reader = bufopen(b"r", SizedBuffer::new())?;
        assert_eq!(reader.put_byte(1), Err(EBADF));
        // A call that was wrong from the start latches nothing.
        assert_eq!((writer.get_error(), reader.get_error()), (Ok(()), Ok(())));
        Ok(())
    }

    #[test]
    fn peeking_and_skipping_work_anywhere() -> Result {
        let mut file = bufopen(b"r", SizedBuffer::from_slice(b"migration")?)?;
        assert_eq!(file.peek_byte(4)?, b'a');
        let mut bytes = [0; 4];
        assert_eq!(file.peek_buffer(&mut bytes, 5)?, 4);
        assert_eq!(&bytes, b"tion");
        assert_eq!(file.skip(7)?, 7);
        assert_eq!(file.ftell()?, 7);
        assert_eq!(file.skip(7)?, 2);
        assert_eq!(file.skip(7)?, 0);
        assert_eq!(file.get_error(), Ok(()));
        Ok(())
    }

    #[test]
    fn a_value_past_the_end_is_an_error_that_stays() -> Result {
        let mut file = bufopen(b"r", SizedBuffer::from_slice(b"QE")?)?;
        assert_eq!(file.get_be32(), Err(EIO));
        assert_eq!(file.get_error(), Err(EIO));
        assert_eq!(file.get_be16(), Err(EIO));
        assert_eq!(file.fclose(), Err(EIO));
        Ok(())
    }

    #[test]
    fn a_buffer_has_no_hooks() -> Result {
        let mut file = bufopen(b"w", SizedBuffer::new())?;
        file.ram_control_before_iterate(0)?;
        file.ram_control_after_iterate(0)?;
        let saved = file.ram_control_save_page(0, 0, 4096)?;
        assert!(saved == super::super::SavePage::NotSupported);
        assert_eq!(file.bytes_xfer(), 0);
        assert_eq!(file.ram_control_load_hook(0), Err(EINVAL));
        assert_eq!(file.get_error(), Err(EINVAL));
        Ok(())
    }
}
