// SPDX-License-Identifier: GPL-2.0

//! What changes of a buffer have made of mappings of it.

use super::PAGE_BYTES;
use crate::sys::page::PageRef;
use core::ops::Range;

/// The smallest range of pages that has all whose mappings no longer show what the buffer holds.
pub(super) struct Stale(Range<u64>);

impl Stale {
    pub(super) const fn new() -> Self {
        Self(0..0)
    }

    /// Notes that the page `index`, which was `old`, is another one now. A slot without a page has
    /// no mappings.
    pub(super) fn left(&mut self, index: u64, old: Option<PageRef>) {
        if old.is_some_and(|old| old.folio().is_mapped()) {
            self.all(&(index..index + 1));
        }
    }

    /// Notes that all pages in `range` may have been replaced.
    pub(super) fn all(&mut self, range: &Range<u64>) {
        let Self(all) = self;
        if all.is_empty() {
            *all = range.clone();
        } else if !range.is_empty() {
            *all = all.start.min(range.start)..all.end.max(range.end);
        }
    }

    /// What was noted since the last call, in bytes.
    pub(super) fn take(&mut self) -> Range<u64> {
        let Self(all) = core::mem::replace(self, Self::new());
        all.start.saturating_mul(PAGE_BYTES)..all.end.saturating_mul(PAGE_BYTES)
    }
}
