// SPDX-License-Identifier: GPL-2.0

//! What a buffer promises about memory and time, as counted by the stand-ins.

use kernel::error::code::ENOMEM;
use qemufile::{
    sized_buffer::{SizedBuffer, MAX_LEN},
    sys::{
        fault,
        page::{PageRef, MAX_REFS, PAGE_SIZE},
    },
    world::pattern,
};

const PAGE_BYTES: u64 = PAGE_SIZE as u64;

/// What the kernel takes for a node: the size of the slab that it comes from.
const NODE_BYTES: i64 = 1024;

fn buffer_of(len: usize) -> SizedBuffer {
    SizedBuffer::from_slice(&pattern(1, len)).expect("memory")
}

#[test]
fn overhead_is_at_most_16_in_1000() {
    for piece in [1, 2, 7, 63, 64, 65, 256] {
        for len in [256, 257, 1000, 5000] {
            let before = (fault::live_pages(), fault::live_nodes());
            let len = len * PAGE_SIZE;
            let mut buffer = SizedBuffer::new();
            for pos in (0..len).step_by(piece * PAGE_SIZE) {
                let bytes = pattern(1, (piece * PAGE_SIZE).min(len - pos));
                buffer.write_at(pos as u64, &bytes).expect("memory");
            }
            let pages = fault::live_pages() - before.0;
            let nodes = fault::live_nodes() - before.1;
            // In terms of 4 KiB pages, whatever their size here.
            let overhead =
                pages * 4096 + nodes * NODE_BYTES - len as i64 / PAGE_BYTES as i64 * 4096;
            let data = len as i64 / PAGE_BYTES as i64 * 4096;
            assert!(overhead * 1000 <= data * 16, "{overhead} for {data}");
        }
    }
}

#[test]
fn a_clone_takes_no_memory() {
    let mut buffer = buffer_of(5000 * PAGE_SIZE);
    let before = (fault::live_pages(), fault::live_nodes());
    fault::fail_after(0);
    let clones: Vec<_> = (0..100)
        .map(|_| buffer.try_clone().expect("a clone"))
        .collect();
    assert!(!fault::reset());
    assert_eq!((fault::live_pages(), fault::live_nodes()), before);
    assert!(clones.iter().all(|clone| clone.len() == buffer.len()));
}

#[test]
fn a_write_to_a_clone_copies_the_pages_and_the_way_to_them_only() {
    let mut buffer = buffer_of(5000 * PAGE_SIZE);
    let before = (fault::live_pages(), fault::live_nodes());
    let mut clone = buffer.try_clone().expect("a clone");
    clone.write_at(1234 * PAGE_BYTES + 5, b"x").expect("memory");
    assert_eq!(fault::live_pages(), before.0 + 1);
    assert!(fault::live_nodes() <= before.1 + 3);
}

#[test]
fn what_a_write_covers_is_not_zeroed() {
    let mut buffer = SizedBuffer::new();
    let bytes = pattern(1, 300 * PAGE_SIZE);
    let before = fault::zeroed();
    buffer.write_at(0, &bytes).expect("memory");
    assert_eq!(fault::zeroed(), before);
    buffer
        .write_at(1000 * PAGE_BYTES + 1, &bytes[..PAGE_SIZE])
        .expect("memory");
    assert_eq!(fault::zeroed(), before + PAGE_BYTES);
}

#[test]
fn a_long_write_takes_long_chunks_while_there_are_any() {
    let bytes = pattern(1, 256 * PAGE_SIZE);
    let mut chunks = Vec::new();
    for order in [6, 3, 1, 0] {
        fault::limit_order(order);
        let mut buffer = SizedBuffer::new();
        buffer.write_at(0, &bytes).expect("memory");
        chunks.push(buffer.chunks());
        fault::reset();
    }
    assert_eq!(chunks, [16, 32, 128, 256]);
}

#[test]
fn chunks_are_aligned_to_their_length() {
    let mut buffer = SizedBuffer::new();
    buffer
        .write_at(PAGE_BYTES, &pattern(1, 37 * PAGE_SIZE))
        .expect("memory");
    let chunks = buffer.chunks_in(PAGE_BYTES..buffer.len());
    let pages: Vec<usize> = chunks.map(|chunk| chunk.len / PAGE_SIZE).collect();
    assert_eq!(pages, [1, 2, 4, 8, 16, 4, 2]);
}

#[test]
fn what_fails_leaves_no_nodes() {
    let mut buffer = buffer_of(1);
    let before = (fault::live_pages(), fault::live_nodes());
    let operations: [fn(&mut SizedBuffer) -> bool; 4] = [
        |buffer| buffer.write_at(1 << 50, b"x").is_ok(),
        |buffer| {
            let mut built = SizedBuffer::new();
            let range = (1 << 50) - 5..(1 << 50) + 300 * PAGE_BYTES;
            built.reserve(range.start, 305 * PAGE_BYTES).is_ok()
                && buffer.take_range(range, &mut built, true).is_ok()
        },
        |buffer| buffer.reserve(1 << 50, 200 * PAGE_BYTES).is_ok(),
        |buffer| {
            let page = buffer.lend(0).expect("a reference").expect("a page");
            buffer.replace_page(1 << 50, page).is_ok()
        },
    ];
    for operation in operations {
        for n in 0.. {
            fault::fail_after(n);
            let done = operation(&mut buffer);
            fault::reset();
            if done {
                break;
            }
            assert_eq!((fault::live_pages(), fault::live_nodes()), before);
        }
        drop(buffer.set_len(1 << 50).expect("memory"));
        drop(buffer.punch(1..u64::MAX).expect("memory"));
        assert_eq!((fault::live_pages(), fault::live_nodes()), before);
    }
}

#[test]
fn what_was_reserved_is_there() {
    let mut buffer = SizedBuffer::new();
    buffer.reserve(5, 200 * PAGE_BYTES).expect("memory");
    fault::fail_after(0);
    let bytes = pattern(1, 200 * PAGE_SIZE);
    assert_eq!(buffer.write_at(5, &bytes), Ok(bytes.len()));
    assert!(!fault::reset());
}

#[test]
fn writing_over_allocates_nothing() {
    let mut buffer = buffer_of(100 * PAGE_SIZE);
    fault::fail_after(0);
    let bytes = pattern(2, 99 * PAGE_SIZE);
    assert_eq!(buffer.write_at(7, &bytes), Ok(bytes.len()));
    let punched = buffer.punch(3..50 * PAGE_BYTES + 7);
    drop(punched.expect("no need of memory"));
    let cut = buffer.set_len(60 * PAGE_BYTES + 1);
    drop(cut.expect("no need of memory"));
    assert!(!fault::reset());
}

#[test]
fn a_clones_write_shows_in_no_mapping_of_the_source() {
    // In a leaf, and below an interior node.
    for pages in [3, 200] {
        for ends in [
            |source: SizedBuffer| drop(source),
            |mut source: SizedBuffer| drop(source.set_len(0).expect("no need of memory")),
        ] {
            let mut source = buffer_of(pages * PAGE_SIZE);
            let page = source.page_to_map(PAGE_BYTES).expect("a page");
            let page = page.try_clone().expect("a reference");
            let mut clone = source.try_clone().expect("a clone");
            ends(source);
            clone.write_at(PAGE_BYTES, b"x").expect("memory");
            let mut bytes = [0];
            page.read(0, &mut bytes);
            assert_eq!(bytes[0], pattern(1, PAGE_SIZE + 1)[PAGE_SIZE]);
        }
    }
}

#[test]
fn a_page_that_only_a_mapping_shows_is_written_in_place() {
    let mut buffer = buffer_of(200 * PAGE_SIZE);
    let page = buffer.page_to_map(PAGE_BYTES).expect("a page");
    let page = page.try_clone().expect("a reference");
    buffer.write_at(1 << 40, b"x").expect("memory");
    drop(buffer.set_len(200 * PAGE_BYTES).expect("memory"));
    buffer.write_at(PAGE_BYTES, b"x").expect("memory");
    let mut bytes = [0];
    page.read(0, &mut bytes);
    assert_eq!(&bytes, b"x");
}

#[test]
fn growing_moves_no_page() {
    let mut buffer = buffer_of(PAGE_SIZE);
    let page = buffer.lend(0).expect("a reference").expect("a page");
    for bits in 13..63 {
        buffer.write_at(1 << bits, b"x").expect("memory");
        let now = buffer.lend(0).expect("a reference");
        assert!(now.is_some_and(|now| {
            let folio = page.folio();
            folio.is_at(folio.index(), &now)
        }));
    }
}

#[test]
fn a_terabyte_of_holes_and_pages_comes_and_goes_on_a_small_stack() {
    let work = || {
        let before = (fault::live_pages(), fault::live_nodes());
        let mut buffer = SizedBuffer::new();
        for pos in (0..1 << 40).step_by(1 << 28) {
            buffer.write_at(pos, b"x").expect("memory");
        }
        buffer.write_at(MAX_LEN - 1, b"x").expect("memory");
        assert_eq!(buffer.allocated(), 4097 * PAGE_BYTES);
        let mut clone = buffer.try_clone().expect("a clone");
        drop(clone.set_len(1 << 39).expect("memory"));
        assert_eq!(clone.allocated(), 2048 * PAGE_BYTES);
        drop(buffer);
        assert_eq!(clone.next_data((1 << 28) + PAGE_BYTES), Some(2 << 28));
        drop(clone);
        assert_eq!((fault::live_pages(), fault::live_nodes()), before);
    };
    // Of the kernel's 16 KiB, but in a build that does not optimise.
    let thread = std::thread::Builder::new().stack_size(64 << 10);
    thread
        .spawn(work)
        .expect("a thread")
        .join()
        .expect("no overflow");
}

#[test]
fn a_page_can_be_in_so_many_places_and_no_more() {
    let buffer = buffer_of(PAGE_SIZE);
    let mut lent = Vec::new();
    while let Ok(Some(page)) = buffer.lend(0) {
        lent.push(page);
    }
    assert_eq!(lent.len(), MAX_REFS - 1);
    lent.pop();
    assert!(matches!(buffer.lend(0), Ok(Some(_))));
}

#[test]
fn a_copy_of_a_node_takes_no_reference_too_many() {
    let mut buffer = buffer_of(3 * PAGE_SIZE);
    let mut clone = buffer.try_clone().expect("a clone");
    let mut lent = Vec::new();
    while let Ok(Some(page)) = buffer.lend(PAGE_BYTES) {
        lent.push(page);
    }
    let before = (fault::live_pages(), fault::live_nodes());
    assert_eq!(buffer.write_at(0, b"x"), Err(ENOMEM));
    assert_eq!(clone.punch(0..7).err(), Some(ENOMEM));
    assert_eq!((fault::live_pages(), fault::live_nodes()), before);
    lent.clear();
    assert_eq!(buffer.write_at(0, b"x"), Ok(1));
}

#[test]
fn what_is_taken_out_is_freed_by_whoever_drops_it() {
    let mut buffer = buffer_of(9000 * PAGE_SIZE);
    let before = fault::live_pages();
    let removed = buffer
        .punch(16 * PAGE_BYTES..8000 * PAGE_BYTES)
        .expect("memory");
    assert_eq!(fault::live_pages(), before);
    assert_eq!(buffer.allocated(), 1016 * PAGE_BYTES);
    drop(removed);
    assert_eq!(fault::live_pages(), before - 7984);
}

#[test]
fn a_partial_copy_of_a_shared_page_keeps_the_rest() {
    let mut buffer = buffer_of(4 * PAGE_SIZE);
    let lend = |i| buffer.lend(i * PAGE_BYTES).expect("a reference");
    let lent: Vec<PageRef> = (0..4).filter_map(lend).collect();
    let mut expected = pattern(1, 4 * PAGE_SIZE);
    expected[10..2 * PAGE_SIZE + 5].fill(9);
    let nines = vec![9; 2 * PAGE_SIZE - 5];
    assert_eq!(buffer.write_at(10, &nines), Ok(nines.len()));
    let mut bytes = vec![0; expected.len()];
    buffer.read_at(0, &mut bytes);
    assert!(bytes == expected);
    drop(lent);
}
