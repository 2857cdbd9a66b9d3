// SPDX-License-Identifier: GPL-2.0

//! Stand-in for the driver's pages: folios of one or more pages, with a count of references each.

use super::fault;
use kernel::alloc::AllocError;
use std::{
    ops::Range,
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        Arc, Mutex, MutexGuard, PoisonError,
    },
};

/// The size of a page in bytes.
pub const PAGE_SIZE: usize = if cfg!(feature = "small-pages") {
    64
} else {
    4096
};

/// The most references to a folio that [`PageRef::try_clone`] adds to. Few, so that a test can
/// have them.
pub const MAX_REFS: usize = 1 << 10;

/// What fresh memory holds, for a test to find where it should not be.
const POISON: u8 = 0xa5;

struct Memory {
    order: u32,
    bytes: Mutex<Box<[u8]>>,
    refs: AtomicUsize,
}

impl Drop for Memory {
    fn drop(&mut self) {
        fault::count_pages(-(1 << self.order));
    }
}

struct Page {
    memory: Arc<Memory>,
    index: usize,
}

/// One counted reference to a page.
pub struct PageRef(Arc<Page>);

impl PageRef {
    /// Allocates a folio of `1 << order` pages, of unknown content.
    pub fn alloc_run(order: u32) -> Result<Run, AllocError> {
        Self::alloc(order, POISON)
    }

    /// The same, of zeros.
    pub fn alloc_zeros(order: u32) -> Result<Run, AllocError> {
        Self::alloc(order, 0)
    }

    fn alloc(order: u32, byte: u8) -> Result<Run, AllocError> {
        fault::check(order)?;
        fault::count_pages(1 << order);
        let memory = Arc::new(Memory {
            order,
            bytes: Mutex::new(vec![byte; PAGE_SIZE << order].into()),
            refs: AtomicUsize::new(0),
        });
        Ok(Run {
            memory,
            next: 0..1 << order,
        })
    }

    /// Takes another reference to the page; fails when there are too many.
    pub fn try_clone(&self) -> Result<Self, AllocError> {
        if self.folio().refs() >= MAX_REFS {
            return Err(AllocError);
        }
        self.0.memory.refs.fetch_add(1, Relaxed);
        Ok(Self(self.0.clone()))
    }

    /// Whether both are references to one page.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.memory, &other.0.memory) && self.0.index == other.0.index
    }

    /// Whether `next` is the page after this one, in the same folio.
    pub fn precedes(&self, next: &Self) -> bool {
        Arc::ptr_eq(&self.0.memory, &next.0.memory) && self.0.index + 1 == next.0.index
    }

    /// Whether the page is a folio of its own, and has just `refs` references.
    pub fn has_refs(&self, refs: usize) -> bool {
        self.folio().pages() == 1 && self.folio().refs() == refs
    }

    /// The folio that this is a page of.
    pub fn folio(&self) -> Folio<'_> {
        Folio(&self.0)
    }

    /// Copies out what is at `offset` from the start of this page; returns how many bytes that
    /// was before the folio's end.
    pub fn read(&self, offset: usize, dst: &mut [u8]) -> usize {
        let (bytes, range) = self.span(offset, dst.len());
        let len = range.len();
        dst[..len].copy_from_slice(&bytes[range]);
        len
    }

    /// Copies `src` to `offset` from the start of this page; returns how many bytes were before
    /// the folio's end.
    pub fn write(&self, offset: usize, src: &[u8]) -> usize {
        let (mut bytes, range) = self.span(offset, src.len());
        let len = range.len();
        bytes[range].copy_from_slice(&src[..len]);
        len
    }

    /// Clears `len` bytes; returns how many were before the folio's end.
    pub fn zero(&self, offset: usize, len: usize) -> usize {
        let (mut bytes, range) = self.span(offset, len);
        bytes[range.clone()].fill(0);
        fault::count_zeroed(range.len());
        range.len()
    }

    /// Whether all bytes of this page are zeros.
    pub fn is_zero(&self) -> bool {
        let (bytes, range) = self.span(0, PAGE_SIZE);
        bytes[range].iter().all(|byte| *byte == 0)
    }

    /// Copies `len` bytes from the same offset of `src`; returns how many were before the end of
    /// both folios.
    pub fn copy_from(&self, offset: usize, src: &Self, len: usize) -> usize {
        let mut copy = vec![0; len];
        let len = src.read(offset, &mut copy);
        self.write(offset, &copy[..len])
    }

    fn span(&self, offset: usize, len: usize) -> (MutexGuard<'_, Box<[u8]>>, Range<usize>) {
        let bytes = self.0.memory.bytes.lock();
        let bytes = bytes.unwrap_or_else(PoisonError::into_inner);
        let start = bytes.len().min(self.0.index * PAGE_SIZE + offset);
        let end = bytes.len().min(start + len);
        (bytes, start..end)
    }
}

/// A folio, seen from one of its pages.
pub struct Folio<'a>(&'a Page);

impl Folio<'_> {
    /// Which of the folio's pages the one is that this is seen from.
    pub fn index(&self) -> usize {
        self.0.index
    }

    /// How many pages there are.
    pub fn pages(&self) -> usize {
        1 << self.0.memory.order
    }

    /// How many references there are, those to all of its pages included.
    pub fn refs(&self) -> usize {
        self.0.memory.refs.load(Relaxed)
    }

    /// Whether any page of the folio is mapped: there are no mappings here.
    pub fn is_mapped(&self) -> bool {
        false
    }

    /// The count of mappings: none.
    pub fn mappings(&self) -> usize {
        0
    }

    /// Whether `page` is the page `index` of this folio.
    pub fn is_at(&self, index: usize, page: &PageRef) -> bool {
        Arc::ptr_eq(&self.0.memory, &page.0.memory) && page.0.index == index
    }
}

impl Drop for PageRef {
    fn drop(&mut self) {
        self.0.memory.refs.fetch_sub(1, Relaxed);
    }
}

/// The pages of a folio that nobody else has, in the order of their addresses.
pub struct Run {
    memory: Arc<Memory>,
    next: Range<usize>,
}

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
        let memory = folio.0.memory.clone();
        pages.iter_mut().for_each(|page| drop(page.take()));
        Some(Self {
            memory,
            next: 0..end,
        })
    }
}

impl Iterator for Run {
    type Item = PageRef;

    fn next(&mut self) -> Option<PageRef> {
        let index = self.next.next()?;
        self.memory.refs.fetch_add(1, Relaxed);
        let memory = self.memory.clone();
        Some(PageRef(Arc::new(Page { memory, index })))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.next.size_hint()
    }
}

impl ExactSizeIterator for Run {}
