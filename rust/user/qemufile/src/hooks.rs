// SPDX-License-Identifier: GPL-2.0

//! Hooks for backends that move the pages of a machine's memory in their own way, as one for RDMA
//! does.
//!
//! What is staged is flushed before a hook is called, so that the backend sees things in order. The
//! hook is not called if that fails.

use crate::{Backend, Error, Mode, QemuFile, Result};

/// What a backend does for the pages of a machine's memory.
pub trait RamHooks {
    /// Called before each pass over the memory, with `flags` that the backend knows.
    fn before_ram_iterate(&mut self, flags: u64) -> Result {
        let _ = flags;
        Ok(())
    }

    /// Called after each pass over the memory.
    fn after_ram_iterate(&mut self, flags: u64) -> Result {
        let _ = flags;
        Ok(())
    }

    /// Called when the stream asks for it.
    fn hook_ram_load(&mut self, flags: u64) -> Result {
        let _ = flags;
        Err(Error::INVALID)
    }

    /// Saves `size` bytes of memory, `offset` bytes into the block that is at `block_offset`, in
    /// the backend's own way.
    fn save_page(&mut self, block_offset: u64, offset: u64, size: u64) -> Result<SavePage> {
        let _ = (block_offset, offset, size);
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

impl<B: Backend> QemuFile<'_, B> {
    /// Tells the backend that a pass over the machine's memory begins. Its error is latched.
    ///
    /// The twin of `ram_control_before_iterate`.
    pub fn ram_control_before_iterate(&mut self, flags: u64) -> Result {
        self.hook(Ok(()), |hooks| hooks.before_ram_iterate(flags))
    }

    /// Tells the backend that a pass over the machine's memory ends. Its error is latched.
    ///
    /// The twin of `ram_control_after_iterate`.
    pub fn ram_control_after_iterate(&mut self, flags: u64) -> Result {
        self.hook(Ok(()), |hooks| hooks.after_ram_iterate(flags))
    }

    /// Does what the stream asks the backend for. Its error is latched: [`Error::INVALID`] if there
    /// are no hooks.
    ///
    /// The twin of `ram_control_load_hook`.
    pub fn ram_control_load_hook(&mut self, flags: u64) -> Result {
        self.hook(Err(Error::INVALID), |hooks| hooks.hook_ram_load(flags))
    }

    /// Asks the backend to save `size` bytes of memory, `offset` bytes into the block that is at
    /// `block_offset`. Its error is latched; that it does not do so is no error.
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
        let saved = self.hook(none, |hooks| hooks.save_page(block_offset, offset, size))?;
        if saved != SavePage::NotSupported {
            self.acct_rate_limit(size);
        }
        if let SavePage::Sent(bytes) = saved {
            self.update_position(bytes);
        }
        Ok(saved)
    }

    /// Calls a hook if the backend has hooks, and has it be `none` if not.
    fn hook<T>(
        &mut self,
        none: Result<T>,
        hook: impl FnOnce(&mut dyn RamHooks) -> Result<T>,
    ) -> Result<T> {
        self.get_error()?;
        if self.mode() == Mode::Write {
            self.fflush()?;
        }
        let result = self.backend_mut().hooks().map_or(none, hook);
        // As in QEMU, whatever it is.
        result.inspect_err(|error| self.set_error(*error))
    }
}
