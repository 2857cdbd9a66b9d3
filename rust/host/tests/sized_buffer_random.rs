// SPDX-License-Identifier: GPL-2.0

//! Random operations on buffers and on their models, which must stay the same.
//!
//! `PROPTEST_CASES` sets how many sequences there are.

use proptest::{collection::vec, option, prelude::*};
use qemufile::{
    step::{Failure, Op, Place, Size, Step},
    sys::fault,
    world::World,
};

/// The operations in a sequence, on average.
const STEPS: usize = 100;

/// The sequences of each test, for a million operations in the four of them.
const CASES: u32 = 2_600;

fn place() -> impl Strategy<Value = Place> {
    any::<u32>().prop_map(Place)
}

fn size() -> impl Strategy<Value = Size> {
    any::<u32>().prop_map(Size)
}

fn op() -> impl Strategy<Value = Op> {
    let good = || option::weighted(0.2, size());
    prop_oneof![
        6 => (place(), size(), any::<u8>(), good())
            .prop_map(|(place, size, seed, good)| Op::Write(place, size, seed, good)),
        2 => (place(), size(), any::<u8>(), good())
            .prop_map(|(place, size, seed, good)| Op::AtomicWrite(place, size, seed, good)),
        2 => (place(), size(), any::<u8>())
            .prop_map(|(place, size, seed)| Op::WriteAt(place, size, seed)),
        6 => (place(), size(), any::<u8>(), good())
            .prop_map(|(place, size, seed, good)| Op::WriteBeside(place, size, seed, good)),
        4 => (place(), size(), good()).prop_map(|(place, size, good)| Op::Read(place, size, good)),
        1 => place().prop_map(Op::SetLen),
        2 => any::<i16>().prop_map(Op::Resize),
        2 => (size(), any::<u8>()).prop_map(|(size, seed)| Op::Append(size, seed)),
        1 => (place(), place()).prop_map(|(from, to)| Op::Punch(from, to)),
        3 => (place(), size()).prop_map(|(place, size)| Op::PunchNear(place, size)),
        4 => place().prop_map(Op::Recycle),
        2 => (place(), size()).prop_map(|(place, size)| Op::Reserve(place, size)),
        3 => place().prop_map(Op::Next),
        2 => Just(Op::Clone),
        1 => Just(Op::Drop),
        3 => place().prop_map(Op::Lend),
        3 => place().prop_map(Op::Map),
        2 => Just(Op::GiveBack),
        3 => place().prop_map(Op::Pin),
        1 => Just(Op::Unpin),
        2 => (place(), size(), any::<u8>())
            .prop_map(|(place, size, seed)| Op::TakeWrite(place, size, seed)),
        2 => (place(), size(), any::<u8>())
            .prop_map(|(place, size, other)| Op::TakeShared(place, size, other)),
        2 => (place(), any::<bool>(), any::<u8>())
            .prop_map(|(place, lent, seed)| Op::ReplacePage(place, lent, seed)),
        2 => (place(), size()).prop_map(|(place, size)| Op::Chunks(place, size)),
    ]
}

fn steps(failure: impl Strategy<Value = Failure>) -> impl Strategy<Value = Vec<Step>> {
    let step = (any::<u8>(), op(), failure);
    let step = step.prop_map(|(buffer, op, failure)| Step {
        buffer,
        op,
        failure,
    });
    vec(step, 1..2 * STEPS)
}

fn run(steps: &[Step]) {
    let before = (fault::live_pages(), fault::live_nodes());
    let mut world = World::new();
    for step in steps {
        world.apply(step);
    }
    world.check();
    drop(world);
    assert_eq!((fault::live_pages(), fault::live_nodes()), before, "leaked");
}

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: match std::env::var_os("PROPTEST_CASES") {
            Some(_) => default.cases,
            None => CASES,
        },
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn with_memory(steps in steps(Just(Failure::Never))) {
        run(&steps);
    }

    #[test]
    fn with_fragmented_memory(steps in steps((0..5u8).prop_map(Failure::Order))) {
        run(&steps);
    }

    #[test]
    fn with_memory_running_out(steps in steps((0..40u8).prop_map(Failure::After))) {
        run(&steps);
    }

    #[test]
    fn with_lost_allocations(steps in steps((0..12u8).prop_map(Failure::Once))) {
        run(&steps);
    }
}
