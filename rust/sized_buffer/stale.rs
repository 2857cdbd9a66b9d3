// SPDX-License-Identifier: GPL-2.0

//! Mappings that are stale after a change of the buffer.

use super::PAGE_BYTES;
use crate::sys::page::PageRef;
use core::ops::Range;

/// The smallest range of pages that contains every stale mapping. A stale mapping no longer shows
/// the buffer's content.
pub(super) struct Stale(Range<u64>);

impl Stale {
    pub(super) const fn new() -> Self {
        Self(0..0)
    }

    /// Records that the page `index` is no longer `old`. A slot without a page has no mappings.
    pub(super) fn left(&mut self, index: u64, old: Option<PageRef>) {
        if old.is_some_and(|old| old.folio().is_mapped()) {
            self.all(&(index..index + 1));
        }
    }

    /// Records that all pages in `range` may have been replaced.
    pub(super) fn all(&mut self, range: &Range<u64>) {
        let Self(all) = self;
        if all.is_empty() {
            *all = range.clone();
        } else if !range.is_empty() {
            *all = all.start.min(range.start)..all.end.max(range.end);
        }
    }

    /// The range recorded since the last call, in bytes.
    pub(super) fn take(&mut self) -> Range<u64> {
        let Self(all) = core::mem::replace(self, Self::new());
        all.start.saturating_mul(PAGE_BYTES)..all.end.saturating_mul(PAGE_BYTES)
    }
}
