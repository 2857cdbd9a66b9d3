// SPDX-License-Identifier: GPL-2.0

//! What changes of a buffer have made of mappings of it.

use super::PAGE_BYTES;
use crate::sys::page::PageRef;
use core::ops::Range;

/// The smallest ranges that have all pages whose mappings no longer show what the buffer holds.
pub(super) struct Stale {
    replaced: Range<u64>,
    filled: Range<u64>,
}

/// [`Stale`] in bytes, for whoever takes pages out of mappings.
pub struct StaleRanges {
    /// Where pages were replaced or removed that somebody may have mapped.
    pub replaced: Range<u64>,
    /// Where holes were filled.
    pub filled: Range<u64>,
}

impl Stale {
    pub(super) const fn new() -> Self {
        Self {
            replaced: 0..0,
            filled: 0..0,
        }
    }

    /// Notes that `old` has left its place, which now has another page.
    pub(super) fn left(&mut self, index: u64, old: Option<&PageRef>) {
        match old {
            None => extend(&mut self.filled, &(index..index + 1)),
            Some(old) if old.folio().is_mapped() => extend(&mut self.replaced, &(index..index + 1)),
            Some(_) => (),
        }
    }

    /// Notes that all pages in `range` may have been replaced.
    pub(super) fn all(&mut self, range: &Range<u64>) {
        extend(&mut self.replaced, range);
    }

    /// What was noted since the last call.
    pub(super) fn take(&mut self) -> StaleRanges {
        let bytes = |pages: Range<u64>| {
            pages.start.saturating_mul(PAGE_BYTES)..pages.end.saturating_mul(PAGE_BYTES)
        };
        let Self { replaced, filled } = core::mem::replace(self, Self::new());
        StaleRanges {
            replaced: bytes(replaced),
            filled: bytes(filled),
        }
    }
}

/// Makes `range` have all of `more`.
fn extend(range: &mut Range<u64>, more: &Range<u64>) {
    if range.is_empty() {
        *range = more.clone();
    } else if !more.is_empty() {
        *range = range.start.min(more.start)..range.end.max(more.end);
    }
}
