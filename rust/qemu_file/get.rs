// SPDX-License-Identifier: GPL-2.0

//! Getting values.
//!
//! A value is got whole or not at all: the position stays until all of its bytes exist.

use super::{
    Ops,
    QemuFile, //
};
use kernel::prelude::*;

impl<O: Ops> QemuFile<O> {
    /// Copies bytes to `buf`, from `offset` bytes after the position. The position stays. Returns
    /// the number of bytes and the reason for the end: [`EIO`] at the end of the stream, which is
    /// latched.
    ///
    /// The twin of `qemu_peek_buffer`. Fails with the latched error or an error of the backend.
    pub fn peek_buffer(&mut self, buf: &mut [u8], offset: u64) -> (usize, Result) {
        if let Err(error) = self.get_error() {
            return (0, Err(error));
        }
        let start = self.pos.saturating_add(offset);
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let got = self.ops.get_buffer(rest, start.saturating_add(done as u64));
            match got {
                Ok(len) if len > 0 => done += len,
                got => {
                    let error = got.err().unwrap_or(EIO);
                    return (done, Err(self.latch(error)));
                }
            }
        }
        (done, Ok(()))
    }

    /// Copies the `N` bytes of a value, from `offset` bytes after the position. The position stays.
    ///
    /// For `N` = 1, the twin of `qemu_peek_byte`, which returns 0 for an error. Fails as
    /// [`Self::peek_buffer`] does.
    pub fn peek_value<const N: usize>(&mut self, offset: u64) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        let (_, end) = self.peek_buffer(&mut bytes, offset);
        end.map(|()| bytes)
    }

    /// Skips `size` bytes. Returns the number of bytes skipped: fewer only at the end, or if the
    /// call can be repeated for the rest.
    ///
    /// The twin of `qemu_file_skip`. Unlike in QEMU, bytes that were not read ahead are skipped
    /// too. The end is not an error. Fails with the latched error or an error of the backend.
    pub fn skip(&mut self, size: u64) -> Result<u64> {
        self.get_error()?;
        let mut done = 0;
        while done < size {
            match self.ops.skip_buffer(size - done, self.pos) {
                Ok(0) => break,
                Ok(len) => {
                    self.update_position(len);
                    done += len;
                }
                Err(error) => {
                    let error = self.latch(error);
                    if done == 0 {
                        return Err(error);
                    }
                    break;
                }
            }
        }
        Ok(done)
    }
}

#[cfg(CONFIG_KUNIT = "y")]
#[kunit_tests(qemufile_qemu_file_get)]
mod tests {
    use super::{
        super::testing::file,
        *, //
    };

    #[test]
    fn a_value_stays_until_it_is_passed() -> Result {
        let mut file = file(b"migration")?;
        assert_eq!(&file.peek_value::<4>(0)?, b"migr");
        assert_eq!(&file.peek_value::<1>(8)?, b"n");
        assert_eq!((file.position(), file.ops.passed), (0, 0));
        file.update_position(4);
        assert_eq!(&file.peek_value::<2>(0)?, b"at");
        assert_eq!((file.position(), file.ops.passed), (4, 4));
        Ok(())
    }

    #[test]
    fn short_reads_are_continued() -> Result {
        let mut file = file(b"migration")?;
        file.ops.most = 2;
        let mut bytes = [0; 9];
        assert_eq!(file.peek_buffer(&mut bytes, 0), (9, Ok(())));
        assert_eq!(&bytes, b"migration");
        assert_eq!(file.peek_buffer(&mut [], 100), (0, Ok(())));
        Ok(())
    }

    #[test]
    fn the_end_is_an_error_that_stays() -> Result {
        let mut file = file(b"migration")?;
        let mut bytes = [0; 10];
        assert_eq!(file.peek_buffer(&mut bytes, 0), (9, Err(EIO)));
        assert_eq!(file.get_error(), Err(EIO));
        assert_eq!(file.peek_buffer(&mut bytes, 0), (0, Err(EIO)));
        assert_eq!(file.peek_value::<1>(0), Err(EIO));
        assert_eq!(file.skip(1), Err(EIO));
        Ok(())
    }

    #[test]
    fn skipping_says_how_much_there_was() -> Result {
        let mut file = file(b"migration")?;
        file.ops.most = 2;
        assert_eq!(file.skip(3)?, 3);
        assert_eq!(&file.peek_value::<1>(0)?, b"r");
        assert_eq!(file.skip(u64::MAX)?, 6);
        assert_eq!(file.skip(1)?, 0);
        assert_eq!(file.skip(0)?, 0);
        assert_eq!(file.get_error(), Ok(()));
        Ok(())
    }

    #[test]
    fn a_value_that_may_be_got_again_is_still_there() -> Result {
        for error in [EAGAIN, EINTR, ERESTARTSYS] {
            let mut file = file(b"QEMU")?;
            file.ops.most = 3;
            file.ops.fail = Some((1, error));
            assert_eq!(file.peek_value::<4>(0), Err(error));
            assert_eq!(file.get_error(), Ok(()));
            assert_eq!(&file.peek_value::<4>(0)?, b"QEMU");
            file.ops.fail = Some((0, error));
            assert_eq!(file.skip(4), Err(error));
            file.ops.fail = Some((1, error));
            assert_eq!(file.skip(4), Ok(3));
        }
        Ok(())
    }

    #[test]
    fn an_error_of_the_backend_stays() -> Result {
        let mut stream = file(b"migration")?;
        stream.ops.most = 2;
        stream.ops.fail = Some((1, EPIPE));
        let mut bytes = [0; 9];
        assert_eq!(stream.peek_buffer(&mut bytes, 0), (2, Err(EPIPE)));
        assert_eq!(stream.peek_value::<1>(0), Err(EPIPE));
        let mut stream = file(b"migration")?;
        stream.ops.fail = Some((0, EPIPE));
        assert_eq!(stream.skip(1), Err(EPIPE));
        assert_eq!(stream.get_error(), Err(EPIPE));
        Ok(())
    }

    #[test]
    fn the_first_error_stays() -> Result {
        let mut file = file(b"")?;
        file.set_error(EIO);
        file.set_error(ENOMEM);
        assert_eq!(file.get_error(), Err(EIO));
        assert_eq!(file.put_be32(1), Err(EIO));
        Ok(())
    }

    #[test]
    fn the_position_stops_at_the_largest_number() -> Result {
        let mut file = file(b"")?;
        file.update_position(u64::MAX);
        file.update_position(1);
        assert_eq!(file.position(), u64::MAX);
        Ok(())
    }
}
