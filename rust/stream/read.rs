// SPDX-License-Identifier: GPL-2.0

//! Reading bytes, and waiting for them.

use super::{
    locks::View,
    stall::Stall,
    Member,
    Own,
    Stream,
    SLICE, //
};
use crate::{
    sized_buffer::{
        Progress,
        Sink, //
    },
    sys::{
        compat::ENOBUFS,
        iov::DestIter,
        sched::fatal_signal_pending, //
    },
};
use kernel::prelude::*;

/// A run of data, or a hole.
pub(crate) struct Extent {
    /// In bytes; 0 at the end of the stream and past it.
    pub(crate) len: u64,
    pub(crate) is_data: bool,
}

/// What a call may wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// For bytes, and for locks.
    Bytes,
    /// For locks: `O_NONBLOCK`.
    Locks,
    /// For nothing: `RWF_NOWAIT`.
    Nothing,
}

impl From<bool> for Patience {
    /// For a call that is `nonblocking` or not.
    fn from(nonblocking: bool) -> Self {
        match nonblocking {
            true => Self::Locks,
            false => Self::Bytes,
        }
    }
}

impl Stream {
    /// Copies up to `buf.len()` bytes from `pos` on, and returns how many: 0 at the end.
    ///
    /// Waits as [`Stream::copy_out`] does, with the same errors.
    pub(crate) fn peek(
        &self,
        member: &Member,
        pos: u64,
        own: Own,
        buf: &mut [u8],
        nonblocking: bool,
    ) -> Result<usize> {
        let inner = self.wait_for_data(member, pos, own, nonblocking.into())?;
        Ok(inner.map_or(0, |inner| inner.buffer.read_at(pos, buf)))
    }

    /// How many bytes there are from `pos` on: 0 at the end.
    ///
    /// Waits as [`Stream::copy_out`] does, with the same errors.
    pub(crate) fn available(
        &self,
        member: &Member,
        pos: u64,
        own: Own,
        nonblocking: bool,
    ) -> Result<u64> {
        let inner = self.wait_for_data(member, pos, own, nonblocking.into())?;
        Ok(inner.map_or(0, |inner| inner.buffer.len().saturating_sub(pos)))
    }

    /// Copies bytes from `pos` on to `dst` until it is full or the stream ends. Also returns
    /// whether to look at the handle's position when the call returns
    /// ([`Member::confirm_on_return`]).
    ///
    /// Waits for the first byte, if `patience` allows, while a handle other than the caller's may
    /// still write. `EAGAIN` where it would have to wait and may not; `ERESTARTSYS` when a signal
    /// comes; `EFAULT` if no byte could be copied; `ENXIO` if the byte at `pos` has been drained;
    /// `ENOBUFS` if it cannot be written before the handle has moved on.
    pub(crate) fn copy_out(
        &self,
        member: &Member,
        pos: u64,
        own: Own,
        dst: &mut DestIter<'_, '_>,
        patience: impl Into<Patience>,
    ) -> (Progress, bool) {
        let patience = patience.into();
        let (mut done, mut look) = (0, false);
        let mut stall = Stall::new();
        let end = loop {
            if dst.len() == 0 {
                break Ok(());
            }
            let here = pos.saturating_add(done as u64);
            let view = match done {
                0 => self.wait_for_data(member, pos, own, patience),
                _ => self.view_for(patience).map(Some),
            };
            let view = match view {
                Ok(Some(view)) => view,
                Ok(None) => break Ok(()),
                Err(err) => break Err(err),
            };
            if here < view.draining.position() {
                break Err(ENXIO);
            }
            // After the first bytes, the end of the stream ends the call.
            let len = view.buffer.len();
            if here >= len {
                break Ok(());
            }
            let copied = view.buffer.read_to(here, dst.limit(stall.limit(SLICE)));
            let next = here.saturating_add(copied as u64);
            let faulted = dst.remaining() > 0 && next < len;
            if copied > 0 && !matches!(own, Own::Follows | Own::Stays(_)) {
                look |= view.note_read(member, own.position(pos), pos, next);
            }
            drop(view);
            done += copied;
            if let Err(err) = stall.note(copied) {
                break Err(err);
            }
            if faulted && dst.fault_in(stall.limit(SLICE)) == 0 {
                break Err(EFAULT);
            }
            if fatal_signal_pending() {
                break Err(EINTR);
            }
        };
        (Progress { bytes: done, end }, look)
    }

    /// Waits until there is a byte at `pos`, or there will be none: `None`. `own` says where the
    /// handle's own position is; what that tells of the bytes before is noted (see
    /// [`super::drain`]).
    ///
    /// `EAGAIN` if that would wait and may not; `ERESTARTSYS` when a signal comes; `ENXIO` if
    /// the byte has been drained; `ENOBUFS` if the byte cannot be written, for the limit's sake,
    /// before the handle itself has moved on.
    pub(super) fn wait_for_data(
        &self,
        member: &Member,
        pos: u64,
        own: Own,
        patience: Patience,
    ) -> Result<Option<View<'_>>> {
        let mut view = self.view_for(patience)?;
        if view.confirm(member, own.position(pos)) {
            view = self.drain_between(view, patience)?;
        }
        let mut passed = own.consumed_by_waiting(pos);
        let mut interrupted = false;
        let mut waiting = None;
        loop {
            if pos < view.draining.position() {
                return Err(ENXIO);
            }
            if pos < view.buffer.len() {
                return Ok(Some(view));
            }
            if !view.others_may_write(member.access) {
                return Ok(None);
            }
            // The writer may wait for this room.
            if passed.take().is_some_and(|to| view.consume(member, to)) {
                view = self.drain_between(view, patience)?;
                continue;
            }
            if view.is_out_of_reach(member, own.position(pos), pos) {
                if let Own::Queued(own) = own {
                    if let Some(due) = view.consume_pending(member, own, pos) {
                        if due {
                            view = self.drain_between(view, patience)?;
                        }
                        continue;
                    }
                }
                return Err(ENOBUFS);
            }
            if patience != Patience::Bytes || view.continues(member, pos) {
                return Err(EAGAIN);
            }
            if interrupted {
                return Err(ERESTARTSYS);
            }
            match &waiting {
                None => waiting = Some(self.more.enter()),
                Some(waiting) => interrupted = waiting.wait(&mut view),
            }
        }
    }

    /// A view to read bytes. `EAGAIN` if that would wait and may not.
    fn view_for(&self, patience: Patience) -> Result<View<'_>> {
        match patience {
            Patience::Nothing => self.try_read_bytes(),
            _ => Ok(self.read_bytes()),
        }
    }

    /// Drains, and returns another view. `EAGAIN` if that would wait and may not.
    fn drain_between<'a>(&'a self, view: View<'a>, patience: Patience) -> Result<View<'a>> {
        if patience != Patience::Nothing {
            let view = self.drain_from(view);
            return Ok(view.unwrap_or_else(|| self.read_bytes()));
        }
        drop(view);
        self.try_drain()?;
        self.view_for(patience)
    }

    /// The run of data, or the hole, from `pos` on.
    pub(crate) fn extent(&self, pos: u64) -> Extent {
        let (inner, _) = self.without_drained();
        let end = inner.buffer.len();
        let is_data = inner.buffer.next_data(pos) == Some(pos);
        let next = if is_data {
            inner.buffer.next_hole(pos)
        } else {
            inner.buffer.next_data(pos)
        };
        Extent {
            len: next.unwrap_or(end).saturating_sub(pos),
            is_data,
        }
    }

    /// The first position from `pos` on that holds data: `SEEK_DATA`.
    ///
    /// `ENXIO` if there is none.
    pub(crate) fn next_data(&self, pos: u64) -> Result<u64> {
        self.without_drained().0.buffer.next_data(pos).ok_or(ENXIO)
    }

    /// The first position from `pos` on that is in a hole, the end counting as one: `SEEK_HOLE`.
    ///
    /// `ENXIO` if `pos` is at the end or past it.
    pub(crate) fn next_hole(&self, pos: u64) -> Result<u64> {
        self.without_drained().0.buffer.next_hole(pos).ok_or(ENXIO)
    }
}
