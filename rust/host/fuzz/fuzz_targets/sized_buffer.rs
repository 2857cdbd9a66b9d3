// SPDX-License-Identifier: GPL-2.0

//! Operations that the fuzzer picks, on buffers and on their models, which must stay the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qemufile::{step::Step, sys::fault, world::World};

/// The operations of an input that are done; more would be slow and find no more.
const MOST_STEPS: usize = 200;

fuzz_target!(|steps: Vec<Step>| {
    let mut world = World::new();
    for step in steps.iter().take(MOST_STEPS) {
        world.apply(step);
    }
    world.check();
    drop(world);
    assert_eq!((fault::live_pages(), fault::live_nodes()), (0, 0), "leaked");
});
