// SPDX-License-Identifier: GPL-2.0

//! What is allocated, and when allocation fails: of this thread, so that tests run side by side.

use kernel::alloc::AllocError;
use std::cell::Cell;

thread_local! {
    static FAIL_AFTER: Cell<Option<u64>> = const { Cell::new(None) };
    static LARGEST_ORDER: Cell<u32> = const { Cell::new(u32::MAX) };
    static PAGES: Cell<i64> = const { Cell::new(0) };
    static NODES: Cell<i64> = const { Cell::new(0) };
}

/// Makes the allocation after the next `n` fail, and all that follow; [`None`] ends that.
pub fn fail_after(n: Option<u64>) {
    FAIL_AFTER.set(n);
}

/// Makes allocations of more than `1 << order` pages fail.
pub fn limit_order(order: u32) {
    LARGEST_ORDER.set(order);
}

/// The pages alive, in whole or in part of a folio.
pub fn live_pages() -> i64 {
    PAGES.get()
}

/// The [`Shared`](super::shared::Shared) values alive.
pub fn live_nodes() -> i64 {
    NODES.get()
}

/// Whether an allocation may go on.
pub fn check() -> Result<(), AllocError> {
    match FAIL_AFTER.get() {
        None => Ok(()),
        Some(0) => Err(AllocError),
        Some(n) => {
            FAIL_AFTER.set(Some(n - 1));
            Ok(())
        }
    }
}

pub(super) fn check_order(order: u32) -> Result<(), AllocError> {
    if order > LARGEST_ORDER.get() {
        return Err(AllocError);
    }
    check()
}

pub(super) fn count_pages(change: i64) {
    PAGES.set(PAGES.get() + change);
}

pub(super) fn count_nodes(change: i64) {
    NODES.set(NODES.get() + change);
}
