// SPDX-License-Identifier: GPL-2.0

//! What a `SizedBuffer` should hold, in the plainest form: a map of pages.

use crate::{sized_buffer::MAX_LEN, sys::page::PAGE_SIZE};
use std::{collections::BTreeMap, ops::Range};

const PAGE_BYTES: u64 = PAGE_SIZE as u64;

/// The content that a buffer should have, and the pages that it should have it in.
#[derive(Clone, Default, PartialEq)]
pub struct Model {
    pub len: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Model {
    pub fn allocated(&self) -> u64 {
        self.pages.len() as u64 * PAGE_BYTES
    }

    /// The start of every page.
    pub fn pages(&self) -> impl Iterator<Item = u64> + '_ {
        self.pages.keys().map(|index| index * PAGE_BYTES)
    }

    /// How much of a write of `len` bytes at `pos` there is room for.
    pub fn room(&self, pos: u64, len: usize) -> usize {
        (MAX_LEN.saturating_sub(pos)).min(len as u64) as usize
    }

    pub fn write(&mut self, pos: u64, bytes: &[u8]) {
        for (at, part) in parts(pos..pos + bytes.len() as u64) {
            let from = (at - pos) as usize;
            self.page(at)[part.clone()].copy_from_slice(&bytes[from..from + part.len()]);
        }
        if !bytes.is_empty() {
            self.len = self.len.max(pos + bytes.len() as u64);
        }
    }

    /// The bytes that a read of `len` bytes at `pos` gives.
    pub fn read(&self, pos: u64, len: usize) -> Vec<u8> {
        let len = self.len.saturating_sub(pos).min(len as u64);
        let mut bytes = vec![0; len as usize];
        for (at, part) in parts(pos..pos + len) {
            if let Some(page) = self.pages.get(&(at / PAGE_BYTES)) {
                let from = (at - pos) as usize;
                bytes[from..from + part.len()].copy_from_slice(&page[part]);
            }
        }
        bytes
    }

    pub fn set_len(&mut self, len: u64) {
        if len < self.len {
            self.punch(len..MAX_LEN + 1);
        }
        self.len = len;
    }

    pub fn punch(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let touched = range.start / PAGE_BYTES..=range.end / PAGE_BYTES;
        let touched: Vec<u64> = self.pages.range(touched).map(|(index, _)| *index).collect();
        for index in touched {
            let start = index * PAGE_BYTES;
            let from = range.start.clamp(start, start + PAGE_BYTES) - start;
            let to = range.end.clamp(start, start + PAGE_BYTES) - start;
            if to - from == PAGE_BYTES {
                self.pages.remove(&index);
            } else {
                self.page(start)[from as usize..to as usize].fill(0);
            }
        }
    }

    pub fn reserve(&mut self, pos: u64, len: u64) {
        for (at, _) in parts(pos..pos + len) {
            self.page(at);
        }
    }

    /// Makes the pages that have bytes of `range` those of `other`.
    pub fn take(&mut self, range: Range<u64>, other: &Self) {
        let pages = range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES);
        self.pages.retain(|index, _| !pages.contains(index));
        let taken = other.pages.range(pages);
        self.pages
            .extend(taken.map(|(index, page)| (*index, page.clone())));
        self.len = self.len.max(range.end);
    }

    /// The page at `pos`, made if need be.
    pub fn page(&mut self, pos: u64) -> &mut Vec<u8> {
        let page = self.pages.entry(pos / PAGE_BYTES);
        page.or_insert_with(|| vec![0; PAGE_SIZE])
    }

    /// The page at `pos`.
    pub fn get_page(&self, pos: u64) -> Option<&Vec<u8>> {
        self.pages.get(&(pos / PAGE_BYTES))
    }

    pub fn next_data(&self, pos: u64) -> Option<u64> {
        let (index, _) = self.pages.range(pos / PAGE_BYTES..).next()?;
        Some(pos.max(index * PAGE_BYTES)).filter(|at| *at < self.len)
    }

    pub fn next_hole(&self, mut pos: u64) -> Option<u64> {
        if pos >= self.len {
            return None;
        }
        while self.get_page(pos).is_some() {
            pos = (pos / PAGE_BYTES + 1) * PAGE_BYTES;
        }
        Some(pos.min(self.len))
    }
}

/// The parts of `range` by page: where each begins, and its bytes within the page.
fn parts(range: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>)> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let start = at;
        let end = range.end.min((at / PAGE_BYTES + 1) * PAGE_BYTES);
        at = end;
        let offset = (start % PAGE_BYTES) as usize;
        (start < end).then(|| (start, offset..offset + (end - start) as usize))
    })
}
