// SPDX-License-Identifier: GPL-2.0

//! What a backend can do.

use kernel::prelude::*;

/// A backend of a [`QemuFile`](super::QemuFile): the twin of `QEMUFileOps` and its `opaque`.
///
/// What a backend lacks it leaves at its default.
pub trait Ops {
    /// Whether it pays to call the backend seldom.
    const STAGED: bool = true;

    /// Whether there is [`Self::writev_buffer`], which is then used for all that is put.
    const HAS_WRITEV_BUFFER: bool = false;

    /// Whether there are hooks for the pages of a machine's memory.
    const HAS_RAM_HOOKS: bool = false;

    /// Whether bytes can be put.
    fn is_writable(&self) -> bool;

    /// Whether bytes can be got.
    fn is_readable(&self) -> bool;

    /// Takes bytes for position `pos`, and returns how many: fewer than there are, but not 0, for
    /// a short write.
    fn put_buffer(&mut self, _buf: &[u8], _pos: u64) -> Result<usize> {
        Err(EBADF)
    }

    /// Takes the bytes of all slices, one after the other, as [`Self::put_buffer`] does.
    fn writev_buffer(&mut self, _iov: &[&[u8]], _pos: u64) -> Result<usize> {
        Err(EBADF)
    }

    /// Gives bytes from position `pos` on, and returns how many: 0 at the end only. Waits if none
    /// are there yet, or returns [`EAGAIN`].
    fn get_buffer(&mut self, _buf: &mut [u8], _pos: u64) -> Result<usize> {
        Err(EBADF)
    }

    /// How many of the `size` bytes from position `pos` on there are: 0 at the end only. Waits as
    /// [`Self::get_buffer`] does. Needed by backends that are not [`Self::STAGED`].
    fn skip_buffer(&mut self, _size: u64, _pos: u64) -> Result<u64> {
        Err(EBADF)
    }

    /// Ends the use of the backend. The number means what the backend wants it to.
    fn close(&mut self) -> Result<u32> {
        Ok(0)
    }

    /// The backend's file descriptor.
    fn get_fd(&self) -> Option<i32> {
        None
    }

    /// To be called before each pass over the machine's memory, with `flags` that the backend
    /// knows.
    fn before_ram_iterate(&mut self, _flags: u64) -> Result {
        Ok(())
    }

    /// To be called after each pass over the machine's memory.
    fn after_ram_iterate(&mut self, _flags: u64) -> Result {
        Ok(())
    }

    /// To be called when the stream asks for it.
    fn hook_ram_load(&mut self, _flags: u64) -> Result {
        Err(EINVAL)
    }

    /// Saves `size` bytes of memory, `offset` bytes into the block that is at `block_offset`, in
    /// the backend's own way.
    fn save_page(&mut self, _block_offset: u64, _offset: u64, _size: u64) -> Result<SavePage> {
        Ok(SavePage::NotSupported)
    }
}

/// What became of a page that a backend was asked to save in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SavePage {
    /// Nothing: the page is to be put into the stream. `RAM_SAVE_CONTROL_NOT_SUPP`.
    NotSupported,
    /// It will be sent, and counted by the backend. `RAM_SAVE_CONTROL_DELAYED`.
    Delayed,
    /// It was sent, in so many bytes.
    Sent(u64),
}

#[kunit_tests(qemufile_qemu_file_ops)]
mod tests {
    use super::{
        super::QemuFile,
        *, //
    };

    /// A backend that can do nothing.
    struct Nothing;

    impl Ops for Nothing {
        const HAS_WRITEV_BUFFER: bool = true;
        const HAS_RAM_HOOKS: bool = true;

        fn is_writable(&self) -> bool {
            true
        }

        fn is_readable(&self) -> bool {
            true
        }
    }

    #[test]
    fn what_a_backend_lacks_it_cannot_do() {
        let mut ops = Nothing;
        assert_eq!(ops.put_buffer(b"QEMU", 0), Err(EBADF));
        assert_eq!(ops.writev_buffer(&[b"QEMU"], 0), Err(EBADF));
        assert_eq!(ops.get_buffer(&mut [0; 4], 0), Err(EBADF));
        assert_eq!(ops.skip_buffer(4, 0), Err(EBADF));
        assert_eq!(ops.get_fd(), None);
        assert_eq!(ops.close(), Ok(0));
    }

    #[test]
    fn a_hook_that_is_missing_does_what_it_does_without_hooks() -> Result {
        let mut file = QemuFile::fopen_ops(Nothing);
        file.ram_control_before_iterate(1)?;
        file.ram_control_after_iterate(1)?;
        let saved = file.ram_control_save_page(0, 0, 1)?;
        assert!(saved == SavePage::NotSupported);
        assert_eq!(file.bytes_xfer(), 0);
        assert_eq!(file.ram_control_load_hook(1), Err(EINVAL));
        Ok(())
    }
}
