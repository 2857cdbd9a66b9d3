// SPDX-License-Identifier: GPL-2.0

//! The machine's memory.
//!
//! C header: [`include/linux/mm.h`](srctree/include/linux/mm.h)

use super::{
    bindings as helpers,
    page::PAGE_SIZE, //
};

/// The memory that the kernel manages, in bytes: `totalram_pages()`.
pub(crate) fn total_ram() -> u64 {
    // SAFETY: It reads a counter.
    let pages = unsafe { helpers::qemufile_totalram_pages() };
    pages as u64 * PAGE_SIZE as u64
}
