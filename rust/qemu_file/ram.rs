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
        result.map_err(|error| self.latch(error))
    }
}
