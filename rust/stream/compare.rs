// SPDX-License-Identifier: GPL-2.0

//! What streams share: differences between two, and the memory that one has alone.

use super::Stream;
use crate::{
    sized_buffer::Difference,
    sys::sched::{
        cond_resched,
        fatal_signal_pending, //
    }, //
};
use core::ops::Range;
use kernel::prelude::*;

impl Stream {
    /// The first range at or after `pos` in which this stream and `other` do not share their pages,
    /// in bytes; empty if there is none.
    ///
    /// Takes time proportional to what was changed since one was cloned from the other. `EINTR` if
    /// the task is being killed.
    pub(crate) fn next_difference(&self, other: &Stream, mut pos: u64) -> Result<Range<u64>> {
        if core::ptr::eq(self, other) {
            return Ok(pos..pos);
        }
        for stream in [self, other] {
            drop(stream.without_drained());
        }
        loop {
            let found = {
                let (one, other) = self.inspect_both(other);
                one.buffer.next_difference(&other.buffer, pos)
            };
            match found {
                Difference::Range(range) => return Ok(range),
                Difference::None => return Ok(pos..pos),
                Difference::Unknown(from) => pos = from,
            }
            cond_resched();
            if fatal_signal_pending() {
                return Err(EINTR);
            }
        }
    }

    /// The memory that only this stream has, in bytes. `EINTR` if the task is being killed.
    pub(crate) fn owned(&self) -> Result<u64> {
        drop(self.without_drained());
        let (mut sum, mut next) = (0_u64, Some(0));
        while let Some(pos) = next {
            let (bytes, after) = self.inspect().buffer.owned_from(pos);
            sum = sum.saturating_add(bytes);
            next = after;
            cond_resched();
            if fatal_signal_pending() {
                return Err(EINTR);
            }
        }
        Ok(sum)
    }
}
