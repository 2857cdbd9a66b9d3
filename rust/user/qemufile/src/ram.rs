// SPDX-License-Identifier: GPL-2.0

//! Hooks for backends that move the pages of a machine's memory in their own way, as one for RDMA
//! does.
//!
//! What is staged is flushed before a hook is called, so that the backend sees things in order.
//! Its errors are those of [`QemuFile::fflush`], and the hook is then not called.

use super::{
    Ops,
    QemuFile,
    SavePage, //
};
use kernel::prelude::*;

impl<O: Ops> QemuFile<'_, O> {
    /// Tells the backend that a pass over the machine's memory begins. An error of it is latched.
    ///
    /// The twin of `ram_control_before_iterate`.
    pub fn ram_control_before_iterate(&mut self, flags: u64) -> Result {
        self.hook(|ops| ops.before_ram_iterate(flags), Ok(()))
    }

    /// Tells the backend that a pass over the machine's memory ends. An error of it is latched.
    ///
    /// The twin of `ram_control_after_iterate`.
    pub fn ram_control_after_iterate(&mut self, flags: u64) -> Result {
        self.hook(|ops| ops.after_ram_iterate(flags), Ok(()))
    }

    /// Does what the stream asks the backend for. An error of it is latched: [`EINVAL`] if there
    /// are no hooks.
    ///
    /// The twin of `ram_control_load_hook`.
    pub fn ram_control_load_hook(&mut self, flags: u64) -> Result {
        self.hook(|ops| ops.hook_ram_load(flags), Err(EINVAL))
    }

    /// Asks the backend to save `size` bytes of memory, `offset` bytes into the block that is at
    /// `block_offset`. An error of it is latched.
    ///
    /// The twin of `ram_control_save_page`. What was sent moves the position, and unless it is
    /// not supported the page counts against the rate limit, as it does since QEMU 2.4.
    pub fn ram_control_save_page(
        &mut self,
        block_offset: u64,
        offset: u64,
        size: u64,
    ) -> Result<SavePage> {
        let none = Ok(SavePage::NotSupported);
        let saved = self.hook(|ops| ops.save_page(block_offset, offset, size), none)?;
        if saved != SavePage::NotSupported {
            self.acct_rate_limit(size);
        }
        if let SavePage::Sent(bytes) = saved {
            self.update_position(bytes);
        }
        Ok(saved)
    }

    /// Calls a hook if the backend has hooks, and has it be `none` if not.
    fn hook<T>(&mut self, hook: impl FnOnce(&mut O) -> Result<T>, none: Result<T>) -> Result<T> {
        self.get_error()?;
        let result = match O::HAS_RAM_HOOKS {
            true => {
                self.fflush()?;
                hook(&mut self.ops)
            }
            false => none,
        };
        // As in QEMU, whatever it is.
        result.inspect_err(|error| self.set_error(*error))
    }
}

#[kunit_tests(qemufile_qemu_file_ram)]
mod tests {
    use super::{
        super::testing::{
            Hooked,
            Staged, //
        },
        *, //
    };

    #[test]
    fn without_hooks_there_is_nothing_but_einval() -> Result {
        let mut file = Staged::file(b"")?;
        file.ram_control_before_iterate(1)?;
        file.ram_control_after_iterate(2)?;
        let saved = file.ram_control_save_page(1, 2, 3)?;
        assert!(saved == SavePage::NotSupported);
        assert_eq!(file.ops.flags, 0);
        assert_eq!(file.ram_control_load_hook(3), Err(EINVAL));
        assert_eq!(file.get_error(), Err(EINVAL));
        Ok(())
    }

    #[test]
    fn a_hook_gets_its_flags_after_what_was_put() -> Result {
        let mut file = Hooked::file(b"")?;
        file.put_buffer(b"QEMU")?;
        file.ram_control_before_iterate(1)?;
        assert_eq!(file.ops.flags, 1);
        assert!(file.ops.holds(b"QEMU"));
        file.ram_control_after_iterate(2)?;
        assert_eq!(file.ops.flags, 2);
        file.ram_control_load_hook(3)?;
        assert_eq!(file.ops.flags, 3);
        Ok(())
    }

    #[test]
    fn an_error_of_a_hook_stays() -> Result {
        let mut file = Hooked::file(b"")?;
        file.ops.fail = Some((0, EPIPE));
        assert_eq!(file.ram_control_before_iterate(1), Err(EPIPE));
        assert_eq!(file.ram_control_after_iterate(2), Err(EPIPE));
        assert_eq!(file.ops.flags, 1);
        assert_eq!(file.get_error(), Err(EPIPE));
        Ok(())
    }

    #[test]
    fn what_becomes_of_a_page_is_counted() -> Result {
        let mut file = Hooked::file(b"")?;
        file.ram_control_save_page(0, 0, 4096)?;
        assert_eq!((file.ftell()?, file.bytes_xfer()), (0, 0));
        file.ops.saved = Ok(SavePage::Delayed);
        file.ram_control_save_page(0, 4096, 4096)?;
        assert_eq!((file.ftell()?, file.bytes_xfer()), (0, 4096));
        file.ops.saved = Ok(SavePage::Sent(100));
        file.ram_control_save_page(0, 8192, 4096)?;
        assert_eq!((file.ftell()?, file.bytes_xfer()), (100, 8192));
        assert_eq!(file.ops.flags, 8192 + 4096);
        file.ops.saved = Err(EPIPE);
        assert!(file.ram_control_save_page(0, 0, 1) == Err(EPIPE));
        assert_eq!(file.get_error(), Err(EPIPE));
        assert_eq!(file.bytes_xfer(), 8192);
        Ok(())
    }
}
