// SPDX-License-Identifier: GPL-2.0

//! What is allocated, and when allocation fails: of this thread, so that tests run side by side.

use crate::alloc::AllocError;
use std::cell::Cell;

#[derive(Clone, Copy)]
enum Plan {
    Never,
    After(u64),
    Once(u64),
    Order(u32),
}

thread_local! {
    static PLAN: Cell<Plan> = const { Cell::new(Plan::Never) };
    static FAILED: Cell<bool> = const { Cell::new(false) };
    static PAGES: Cell<i64> = const { Cell::new(0) };
    static NODES: Cell<i64> = const { Cell::new(0) };
    static ZEROED: Cell<u64> = const { Cell::new(0) };
}

/// Makes all allocations after the next `n` fail, until [`reset`].
pub fn fail_after(n: u64) {
    PLAN.set(Plan::After(n));
}

/// Makes the allocation after the next `n` fail.
pub fn fail_once(n: u64) {
    PLAN.set(Plan::Once(n));
}

/// Makes allocations of more than `1 << order` pages fail, until [`reset`].
pub fn limit_order(order: u32) {
    PLAN.set(Plan::Order(order));
}

/// Ends all that, and returns whether an allocation failed.
pub fn reset() -> bool {
    PLAN.set(Plan::Never);
    FAILED.replace(false)
}

/// The pages alive, in whole or in part of a folio.
pub fn live_pages() -> i64 {
    PAGES.get()
}

/// The values behind shared pointers alive.
pub fn live_nodes() -> i64 {
    NODES.get()
}

/// The bytes of pages that were zeroed.
pub fn zeroed() -> u64 {
    ZEROED.get()
}

/// Whether an allocation of `1 << order` pages may go on; other memory has order 0.
pub fn check(order: u32) -> Result<(), AllocError> {
    let fails = match PLAN.get() {
        Plan::Never => false,
        Plan::Order(largest) => order > largest,
        Plan::After(0) => true,
        Plan::After(n) => {
            PLAN.set(Plan::After(n - 1));
            false
        }
        Plan::Once(0) => {
            PLAN.set(Plan::Never);
            true
        }
        Plan::Once(n) => {
            PLAN.set(Plan::Once(n - 1));
            false
        }
    };
    if fails {
        FAILED.set(true);
        return Err(AllocError);
    }
    Ok(())
}

/// Counts pages that came, or went.
pub fn count_pages(change: i64) {
    PAGES.set(PAGES.get() + change);
}

/// Counts shared values that came, or went.
pub fn count_nodes(change: i64) {
    NODES.set(NODES.get() + change);
}

/// Counts bytes of pages that were zeroed.
pub fn count_zeroed(bytes: usize) {
    ZEROED.set(ZEROED.get() + bytes as u64);
}
