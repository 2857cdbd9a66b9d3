// SPDX-License-Identifier: GPL-2.0

//! Counted references to pages of memory, alone or as parts of larger folios.
//!
//! The `kernel` crate's [`Page`] owns a single page without other references. The pages of a stream
//! are shared: by clones, pipes and mappings. [`PageRef`] is therefore a reference in the sense of
//! `get_page()` and `put_page()`. Only C's `memcpy` moves the contents, and no Rust reference to
//! them exists, so a user who writes to a mapped page during a read can change only the bytes read.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h),
//! [`include/linux/highmem.h`](srctree/include/linux/highmem.h)
//!
//! [`Page`]: kernel::page::Page

use super::bindings as helpers;
use core::ptr::NonNull;
use kernel::{
    alloc::AllocError,
    bindings,
    prelude::*, //
};

pub use kernel::page::PAGE_SIZE;

/// The most references to a folio that [`PageRef::try_clone`] adds to.
///
/// Far more than clones and pipes use, and far below the 2^31 at which `_refcount` wraps, so the
/// check and the addition need not be atomic.
pub const MAX_REFS: usize = 1 << 28;

/// A reference to one page.
///
/// # Invariants
///
/// `page` points at a page of a folio, and each `PageRef` owns one reference of that folio.
pub struct PageRef {
    page: NonNull<bindings::page>,
}

// SAFETY: A reference to a page may be dropped on any thread.
unsafe impl Send for PageRef {}
// SAFETY: All methods work on atomic counts or move bytes in C; see the module's documentation.
unsafe impl Sync for PageRef {}

impl PageRef {
    /// Allocates `1 << order` contiguous pages, as one folio.
    ///
    /// The contents are not initialised: the caller writes or zeroes them before anyone can read
    /// them. A single page (`order` 0) may wait and reclaim, but does not call the OOM killer. A
    /// larger folio is taken only if one is free.
    pub fn alloc_run(order: u32) -> Result<Run, AllocError> {
        Self::alloc(order, 0)
    }

    /// As [`Self::alloc_run`], of zeros.
    pub fn alloc_zeros(order: u32) -> Result<Run, AllocError> {
        Self::alloc(order, helpers::QEMUFILE_GFP_ZERO)
    }

    fn alloc(order: u32, more: bindings::gfp_t) -> Result<Run, AllocError> {
        let gfp = match order {
            0 => helpers::QEMUFILE_GFP_PAGE,
            _ => helpers::QEMUFILE_GFP_FOLIO,
        } | more;
        // SAFETY: May be called with any flags and order from a context that may sleep.
        let folio = unsafe { helpers::qemufile_folio_alloc(gfp, order) };
        let folio = NonNull::new(folio).ok_or(AllocError)?;
        let pages = 1 << order;
        if pages > 1 {
            // SAFETY: The folio is ours; it has one reference, and from here on one a page.
            unsafe { helpers::qemufile_folio_ref_add(folio.as_ptr(), pages - 1) };
        }
        // INVARIANT: The folio has a reference for each of its pages.
        Ok(Run {
            folio,
            next: 0,
            end: 1 << order,
        })
    }

    /// # Safety
    ///
    /// The caller must own a reference to the page's folio, which is the result's from then on.
    pub(super) unsafe fn from_raw(page: NonNull<bindings::page>) -> Self {
        // INVARIANT: By the caller's promise.
        Self { page }
    }

    /// Takes another reference to the page.
    ///
    /// Fails when the folio has [`MAX_REFS`] references: a count that wraps would free the folio
    /// under its users. `try_get_page()` refuses for the same reason.
    pub fn try_clone(&self) -> Result<Self, AllocError> {
        if self.folio().refs() >= MAX_REFS {
            return Err(AllocError);
        }
        // SAFETY: The folio is valid.
        unsafe { helpers::qemufile_folio_ref_add(self.raw_folio(), 1) };
        // INVARIANT: The reference just taken is the clone's.
        Ok(Self { page: self.page })
    }

    /// Whether both are references to one page.
    pub fn is(&self, other: &Self) -> bool {
        self.page == other.page
    }

    /// Whether `next` is the page after this one, in the same folio.
    pub fn precedes(&self, next: &Self) -> bool {
        // The `struct page`s of a folio lie in a row, and the first is where its `struct folio` is.
        core::ptr::eq(self.as_ptr().wrapping_add(1), next.as_ptr())
            && !core::ptr::eq(next.raw_folio().cast(), next.as_ptr())
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::page {
        self.page.as_ptr()
    }

    fn raw_folio(&self) -> *mut bindings::folio {
        // SAFETY: By the type invariant `page` is a page of a folio that we hold a reference to.
        unsafe { helpers::qemufile_page_folio(self.page.as_ptr()) }
    }

    /// Whether the page is a folio of its own, and has just `refs` references.
    pub fn has_refs(&self, refs: usize) -> bool {
        // No page has as many as do not fit.
        let refs = i32::try_from(refs).unwrap_or(-1);
        // SAFETY: The page is valid, as we own a reference.
        unsafe { helpers::qemufile_page_has_refs(self.page.as_ptr(), refs) }
    }

    /// The folio that this is a page of.
    pub fn folio(&self) -> Folio<'_> {
        Folio {
            raw: self.raw_folio(),
            page: self,
        }
    }

    /// The folio, and the part of it, in bytes from its start, that begins `offset` bytes into
    /// this page and is at most `len` bytes long.
    ///
    /// # Guarantees
    ///
    /// The part lies inside the folio.
    pub(super) fn span(&self, offset: usize, len: usize) -> (*mut bindings::folio, usize, usize) {
        let folio = self.folio();
        let size = folio.pages() * PAGE_SIZE;
        let start = (folio.index() * PAGE_SIZE).saturating_add(offset).min(size);
        (folio.raw, start, len.min(size - start))
    }

    /// Copies bytes out of the folio, from `offset` bytes into this page.
    ///
    /// Returns how many: fewer than asked for where the folio ends.
    pub fn read(&self, offset: usize, dst: &mut [u8]) -> usize {
        let (folio, start, len) = self.span(offset, dst.len());
        // SAFETY: The range lies inside the folio, and `dst` has room for `len` bytes.
        unsafe { helpers::qemufile_memcpy_from_folio(dst.as_mut_ptr(), folio, start, len) };
        len
    }

    /// Copies bytes into the folio, from `offset` bytes into this page.
    ///
    /// Returns how many: fewer than given where the folio ends.
    pub fn write(&self, offset: usize, src: &[u8]) -> usize {
        let (folio, start, len) = self.span(offset, src.len());
        // SAFETY: The range lies inside the folio, and `src` holds `len` bytes.
        unsafe { helpers::qemufile_memcpy_to_folio(folio, start, src.as_ptr(), len) };
        len
    }

    /// Writes zeros to the folio, from `offset` bytes into this page.
    ///
    /// Returns how many: fewer than asked for where the folio ends.
    pub fn zero(&self, offset: usize, len: usize) -> usize {
        let (folio, start, len) = self.span(offset, len);
        // SAFETY: The range lies inside the folio.
        unsafe { helpers::qemufile_folio_zero_range(folio, start, len) };
        len
    }

    /// Whether all bytes of this page are zeros.
    pub fn is_zero(&self) -> bool {
        // SAFETY: By the type invariant the page is valid.
        unsafe { helpers::qemufile_page_is_zero(self.page.as_ptr()) }
    }

    /// Copies the bytes from `offset` of another page to the same place of this one.
    ///
    /// Returns how many: fewer than asked for where the page ends.
    pub fn copy_from(&self, offset: usize, src: &PageRef, len: usize) -> usize {
        let offset = offset.min(PAGE_SIZE);
        let len = len.min(PAGE_SIZE - offset);
        // SAFETY: By the type invariants both pages are valid, and the range lies inside a page.
        unsafe {
            helpers::qemufile_memcpy_page(self.page.as_ptr(), src.page.as_ptr(), offset, len)
        };
        len
    }
}

/// A folio, seen from one of its pages.
///
/// The `struct page`s of a folio lie in a row, and the first is where its `struct folio` is.
pub struct Folio<'a> {
    raw: *mut bindings::folio,
    page: &'a PageRef,
}

impl Folio<'_> {
    /// The index of the page in the folio.
    pub fn index(&self) -> usize {
        (self.page.page.as_ptr().addr() - self.raw.addr()) / size_of::<bindings::page>()
    }

    /// The count of the folio's pages.
    pub fn pages(&self) -> usize {
        // SAFETY: The folio is valid.
        unsafe { helpers::qemufile_folio_nr_pages(self.raw) }
    }

    /// The count of references, including those to all of its pages and those of mappings.
    ///
    /// Other owners can drop references at any time. Only those who can reach the page can add one.
    pub fn refs(&self) -> usize {
        // SAFETY: The folio is valid.
        let refs = unsafe { helpers::qemufile_folio_refs(self.raw) };
        usize::try_from(refs).unwrap_or(usize::MAX)
    }

    /// Whether any page of the folio is mapped into an address space.
    ///
    /// The answer is exact for mappings that the caller's locks keep from changing.
    pub fn is_mapped(&self) -> bool {
        // SAFETY: The folio is valid.
        unsafe { helpers::qemufile_folio_mapped(self.raw) }
    }

    /// The count of mappings of the folio's pages. Each has a reference. It can change at any time.
    pub fn mappings(&self) -> usize {
        // SAFETY: The folio is valid.
        let count = unsafe { helpers::qemufile_folio_mapcount(self.raw) };
        usize::try_from(count).unwrap_or(0)
    }

    /// Whether `page` is the page `index` of this folio. `index` must be one of the folio's.
    pub fn is_at(&self, index: usize, page: &PageRef) -> bool {
        let first = self.raw.cast::<bindings::page>();
        core::ptr::eq(first.wrapping_add(index), page.page.as_ptr())
    }
}

impl Drop for PageRef {
    fn drop(&mut self) {
        // SAFETY: By the type invariant we own a reference.
        unsafe { helpers::qemufile_folio_put(self.raw_folio()) };
    }
}

/// The pages of a folio that nobody else has, in the order of their addresses.
///
/// # Invariants
///
/// `next <= end`, `end` is the folio's number of pages, and a `Run` owns one reference of the
/// folio for each page from `next` to `end`.
pub struct Run {
    folio: NonNull<bindings::folio>,
    next: usize,
    end: usize,
}

// SAFETY: As for the references to its pages.
unsafe impl Send for Run {}
// SAFETY: As for the references to its pages; a shared `Run` only tells how many they are.
unsafe impl Sync for Run {}

impl Run {
    /// The run of `pages`, if they are all pages of a folio, in order, with all of its references.
    /// They are taken out then.
    pub fn of(pages: &mut [Option<PageRef>]) -> Option<Self> {
        let folio = pages.first()?.as_ref()?.folio();
        let is_next = |(index, page): (usize, &Option<PageRef>)| {
            page.as_ref().is_some_and(|page| folio.is_at(index, page))
        };
        let end = pages.len();
        let is_all = folio.pages() == end && folio.refs() == end;
        if !is_all || !pages.iter().enumerate().all(is_next) {
            return None;
        }
        let folio = NonNull::new(folio.raw)?;
        for page in pages {
            core::mem::forget(page.take());
        }
        // INVARIANT: The references that were the pages' are the run's now, one a page.
        Some(Self {
            folio,
            next: 0,
            end,
        })
    }
}

impl Iterator for Run {
    type Item = PageRef;

    fn next(&mut self) -> Option<PageRef> {
        if self.next >= self.end {
            return None;
        }
        // SAFETY: We own references, so the folio is valid, and it has a page `next`.
        let page = unsafe { helpers::qemufile_folio_page(self.folio.as_ptr(), self.next) };
        let page = NonNull::new(page)?;
        self.next += 1;
        // INVARIANT: The reference that was ours for this page is the `PageRef`'s now.
        Some(PageRef { page })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Run {}

impl Drop for Run {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

#[kunit_tests(qemufile_sys_page)]
mod tests {
    use super::*;

    #[test]
    fn references_are_bounded() -> Result {
        let page = PageRef::alloc_run(0)?.next().ok_or(EINVAL)?;
        let most = MAX_REFS as i32 - 1;
        // SAFETY: The folio is valid. Nobody else has it, and the references go again below.
        unsafe { helpers::qemufile_folio_ref_add(page.raw_folio(), most) };
        let refused = page.try_clone().is_err();
        // SAFETY: As above; one reference is left.
        unsafe { helpers::qemufile_folio_ref_add(page.raw_folio(), -most) };
        assert!(refused);
        assert!(page.try_clone().is_ok());
        Ok(())
    }
}
