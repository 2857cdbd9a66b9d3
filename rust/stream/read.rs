// SPDX-License-Identifier: GPL-2.0

//! Taking bytes out of a stream.

use super::{
    Access,
    Inner,
    Passed,
    Progress,
    Seat,
    Stream,
    SLICE, //
};
use crate::{
    sized_buffer::Sink,
    sys::{
        iov::DestIter,
        sched::fatal_signal_pending, //
    },
};
use kernel::{
    prelude::*,
    sync::lock::{
        mutex::MutexBackend,
        Guard, //
    },
};

impl Stream {
    /// Copies up to `buf.len()` bytes from `pos` on, and returns how many: 0 at the end.
    ///
    /// Waits as [`Stream::copy_out`] does, with the same errors.
    pub(crate) fn peek(
        &self,
        seat: &Seat,
        pos: u64,
        buf: &mut [u8],
        nonblocking: bool,
    ) -> Result<usize> {
        let inner = self.wait_for_data(seat.access, pos, nonblocking)?;
        Ok(inner.map_or(0, |inner| inner.buffer.read_at(pos, buf)))
    }

    /// How many bytes there are from `pos` on: 0 at the end.
    ///
    /// Waits as [`Stream::copy_out`] does, with the same errors.
    pub(crate) fn available(&self, seat: &Seat, pos: u64, nonblocking: bool) -> Result<u64> {
        let inner = self.wait_for_data(seat.access, pos, nonblocking)?;
        Ok(inner.map_or(0, |inner| inner.buffer.len().saturating_sub(pos)))
    }

    /// Copies bytes from `pos` on to `dst` until it is full or the stream ends.
    ///
    /// Waits for the first byte, unless `nonblocking`, while a handle other than the caller's may
    /// still write: `EAGAIN` then; `ERESTARTSYS` when a signal comes; `EFAULT` if no byte could be
    /// copied; `ENXIO` if the byte at `pos` has been drained.
    pub(crate) fn copy_out(
        &self,
        seat: &Seat,
        pos: u64,
        dst: &mut DestIter<'_, '_>,
        nonblocking: bool,
    ) -> Progress {
        let mut done = 0;
        let end = loop {
            if dst.len() == 0 {
                break Ok(());
            }
            let here = pos.saturating_add(done as u64);
            // What was read before makes the end of the stream an end of the call.
            let inner = match self.wait_for_data(seat.access, here, nonblocking || done > 0) {
                Ok(Some(inner)) => inner,
                Ok(None) => break Ok(()),
                Err(err) if err == EAGAIN && done > 0 => break Ok(()),
                Err(err) => break Err(err),
            };
            let copied = inner.buffer.read_to(here, dst.limit(SLICE));
            let faulted = dst.remaining() > 0 && here + copied as u64 != inner.buffer.len();
            drop(inner);
            done += copied;
            if faulted && dst.fault_in(SLICE) == 0 {
                break Err(EFAULT);
            }
            if fatal_signal_pending() {
                break Err(EINTR);
            }
        };
        Progress { bytes: done, end }
    }

    /// Waits until there is a byte at `pos`, or there will be none: `None`.
    ///
    /// `EAGAIN` if that would wait and is not to; `ERESTARTSYS` when a signal comes; `ENXIO` if
    /// the byte has been drained.
    pub(super) fn wait_for_data(
        &self,
        access: Access,
        pos: u64,
        nonblocking: bool,
    ) -> Result<Option<Guard<'_, Inner, MutexBackend>>> {
        let mut inner = self.inner.lock();
        let mut interrupted = false;
        loop {
            if pos < inner.drained {
                return Err(ENXIO);
            }
            if pos < inner.buffer.len() {
                return Ok(Some(inner));
            }
            if !inner.others_may_write(access) {
                return Ok(None);
            }
            if nonblocking {
                return Err(EAGAIN);
            }
            if interrupted {
                return Err(ERESTARTSYS);
            }
            interrupted = self.more.wait(&mut inner);
        }
    }

    /// Changes the entry of a handle that only reads, and drains what can be drained.
    fn note(&self, seat: &Seat, note: impl FnOnce(&mut Passed)) {
        let Some(index) = seat.index else {
            return;
        };
        let mut inner = self.inner.lock();
        if let Some(Some(passed)) = inner.passed.get_mut(index) {
            note(passed);
        }
        self.drain(inner);
    }

    /// Notes that a handle goes on at `pos`, and so has kept what it was lent before.
    pub(crate) fn kept(&self, seat: &Seat, pos: u64) {
        self.note(seat, |passed| passed.keep(pos));
    }

    /// Notes that a handle at `pos` has read, or passed over, `bytes` from there on.
    pub(crate) fn pass(&self, seat: &Seat, pos: u64, bytes: u64) {
        self.note(seat, |passed| {
            *passed = Passed::at(pos.saturating_add(bytes))
        });
    }

    /// Notes that a handle was lent `bytes` from `pos` on.
    pub(super) fn lent(&self, seat: &Seat, pos: u64, bytes: u64) {
        self.note(seat, |passed| {
            if passed.read == pos {
                passed.lent = pos.saturating_add(bytes);
            }
        });
    }

    /// Notes that a handle was moved to `pos`. What it is moved past counts when it reads there,
    /// as it may only want to know where the end is.
    pub(crate) fn moved(&self, seat: &Seat, pos: u64) {
        self.note(seat, |passed| {
            if pos < passed.read {
                *passed = Passed::at(pos);
            }
        });
    }

    /// The first position from `pos` on that holds data: `SEEK_DATA`.
    ///
    /// `ENXIO` if there is none.
    pub(crate) fn next_data(&self, pos: u64) -> Result<u64> {
        self.inner.lock().buffer.next_data(pos).ok_or(ENXIO)
    }

    /// The first position from `pos` on that is in a hole, the end counting as one: `SEEK_HOLE`.
    ///
    /// `ENXIO` if `pos` is at the end or past it.
    pub(crate) fn next_hole(&self, pos: u64) -> Result<u64> {
        self.inner.lock().buffer.next_hole(pos).ok_or(ENXIO)
    }
}
