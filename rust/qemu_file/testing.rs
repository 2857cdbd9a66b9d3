// SPDX-License-Identifier: GPL-2.0

//! A backend for tests, which moves as many bytes at a time as it is told to, and fails when it is
//! told to.

use super::{
    Ops,
    QemuFile,
    SavePage, //
};
use crate::sized_buffer::SizedBuffer;
use kernel::prelude::*;

/// A backend over a buffer, to be read and written. The parameters are the constants of [`Ops`].
pub struct Backend<const STAGED: bool, const WRITEV: bool, const HOOKS: bool> {
    /// The bytes.
    pub buffer: SizedBuffer,
    /// The most bytes that a call moves.
    pub most: usize,
    /// The error of a call, after so many that work; all that follow work.
    pub fail: Option<(usize, Error)>,
    /// The calls that moved bytes.
    pub calls: usize,
    /// The slices of the last call of [`Ops::writev_buffer`].
    pub slices: usize,
    /// What [`Ops::save_page`] says.
    pub saved: Result<SavePage>,
    /// The flags of the last hook.
    pub flags: u64,
    /// What [`Ops::close`] says.
    pub closed: Result<u32>,
}

/// A backend that is called seldom.
pub type Staged = Backend<true, false, false>;

/// A backend that is called seldom and takes several slices.
pub type Gathering = Backend<true, true, false>;

/// A backend that is called for each value.
pub type Straight = Backend<false, false, false>;

/// A backend with hooks.
pub type Hooked = Backend<true, true, true>;

impl<const STAGED: bool, const WRITEV: bool, const HOOKS: bool> Backend<STAGED, WRITEV, HOOKS> {
    /// Makes a file over a backend that holds `bytes`.
    pub fn file<'a>(bytes: &[u8]) -> Result<QemuFile<'a, Self>> {
        Ok(QemuFile::fopen_ops(Self {
            buffer: SizedBuffer::from_slice(bytes)?,
            most: usize::MAX,
            fail: None,
            calls: 0,
            slices: 0,
            saved: Ok(SavePage::NotSupported),
            flags: 0,
            closed: Ok(0),
        }))
    }

    /// Counts a call, and has it fail if it is to.
    fn call(&mut self) -> Result {
        match &mut self.fail {
            Some((0, error)) => {
                let error = *error;
                self.fail = None;
                Err(error)
            }
            Some((after, _)) => {
                *after -= 1;
                Ok(())
            }
            None => Ok(()),
        }?;
        self.calls += 1;
        Ok(())
    }

    /// Whether the buffer holds `bytes` and no more.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let mut pos = 0;
        self.buffer.len() == bytes.len() as u64
            && bytes.chunks(64).all(|expected| {
                let mut there = [0; 64];
                let len = self.buffer.read_at(pos, &mut there);
                pos += len as u64;
                there.get(..len) == Some(expected)
            })
    }
}

impl<const STAGED: bool, const WRITEV: bool, const HOOKS: bool> Ops
    for Backend<STAGED, WRITEV, HOOKS>
{
    const STAGED: bool = STAGED;
    const HAS_WRITEV_BUFFER: bool = WRITEV;
    const HAS_RAM_HOOKS: bool = HOOKS;

    fn is_writable(&self) -> bool {
        true
    }

    fn is_readable(&self) -> bool {
        true
    }

    fn put_buffer(&mut self, buf: &[u8], pos: u64) -> Result<usize> {
        self.call()?;
        let most = self.most.min(buf.len());
        self.buffer.write_at(pos, buf.get(..most).unwrap_or(buf))
    }

    fn writev_buffer(&mut self, iov: &[&[u8]], pos: u64) -> Result<usize> {
        self.call()?;
        self.slices = iov.len();
        let mut done = 0;
        for slice in iov {
            let most = (self.most - done).min(slice.len());
            let slice = slice.get(..most).unwrap_or(slice);
            done += self.buffer.write_at(pos + done as u64, slice)?;
        }
        Ok(done)
    }

    fn get_buffer(&mut self, buf: &mut [u8], pos: u64) -> Result<usize> {
        self.call()?;
        let most = self.most.min(buf.len());
        let buf = buf.get_mut(..most).unwrap_or_default();
        Ok(self.buffer.read_at(pos, buf))
    }

    fn skip_buffer(&mut self, size: u64, pos: u64) -> Result<u64> {
        self.call()?;
        let left = self.buffer.len().saturating_sub(pos);
        Ok(left.min(size).min(self.most as u64))
    }

    fn close(&mut self) -> Result<u32> {
        self.closed
    }

    fn get_fd(&self) -> Option<i32> {
        Some(3)
    }

    fn before_ram_iterate(&mut self, flags: u64) -> Result {
        self.flags = flags;
        self.call()
    }

    fn after_ram_iterate(&mut self, flags: u64) -> Result {
        self.flags = flags;
        self.call()
    }

    fn hook_ram_load(&mut self, flags: u64) -> Result {
        self.flags = flags;
        self.call()
    }

    fn save_page(&mut self, block_offset: u64, offset: u64, size: u64) -> Result<SavePage> {
        self.flags = block_offset + offset + size;
        self.saved
    }
}
