// SPDX-License-Identifier: GPL-2.0

//! Every operation, on buffers of every kind, with every allocation in turn made to fail.
//!
//! The world checks that what an operation leaves is what it says: all, nothing, or for a write
//! the part that it reports.

use qemufile::{
    step::{Failure, Op, Place, Size, Step},
    sys::{fault, page::PAGE_SIZE},
    world::World,
};

/// A position, in pages and bytes.
fn at(pages: usize, bytes: usize) -> Place {
    Place(((pages * PAGE_SIZE + bytes) as u32) << 3)
}

/// The position `1 << bits`, less two bytes.
fn far(bits: u32) -> Place {
    Place(bits << 3 | 6)
}

/// A number of pages, less than 24.
fn pages(pages: u32) -> Size {
    Size(pages << 3 | 5)
}

/// A number of bytes, less than 64.
fn bytes(bytes: u32) -> Size {
    Size(bytes << 3)
}

fn setups() -> Vec<Vec<Op>> {
    let data = vec![
        Op::Write(at(0, 0), pages(23), 1, None),
        Op::Write(at(60, 100), pages(10), 2, None),
        Op::Write(far(40), bytes(60), 3, None),
    ];
    let cloned = [&data[..], &[Op::Clone]].concat();
    let lent = [&data[..], &[Op::Lend(at(2, 0)), Op::Lend(at(63, 0))]].concat();
    let mapped = [&cloned[..], &[Op::Map(at(3, 0)), Op::Map(at(40, 0))]].concat();
    let half = [&cloned[..], &[Op::WriteAt(at(1, 5), pages(3), 4)]].concat();
    vec![vec![], data, cloned, lent, mapped, half]
}

fn operations() -> Vec<Op> {
    let mut all = Vec::new();
    for place in [
        at(0, 0),
        at(3, 7),
        at(40, 0),
        at(62, 1),
        far(40),
        far(45),
        far(62),
    ] {
        for size in [bytes(0), bytes(9), pages(1), pages(20)] {
            all.push(Op::Write(place, size, 9, None));
            all.push(Op::Write(place, size, 9, Some(bytes(5))));
            all.push(Op::Write(place, size, 9, Some(pages(2))));
            all.push(Op::AtomicWrite(place, size, 9, None));
            all.push(Op::WriteAt(place, size, 9));
            all.push(Op::WriteBeside(place, size, 9, None));
            all.push(Op::WriteBeside(place, size, 9, Some(bytes(5))));
            all.push(Op::PunchNear(place, size));
            all.push(Op::Reserve(place, size));
            all.push(Op::TakeWrite(place, size, 9));
            all.push(Op::TakeShared(place, size, 1));
        }
        all.push(Op::SetLen(place));
        all.push(Op::Map(place));
        all.push(Op::Recycle(place));
        all.push(Op::Punch(at(1, 1), place));
        all.push(Op::ReplacePage(place, false, 9));
        all.push(Op::ReplacePage(place, true, 9));
    }
    all
}

/// Does `op` after `setup` with an allocation failing, and returns whether it came to that.
fn run(setup: &[Op], op: &Op, failure: Failure) -> bool {
    let before = (fault::live_pages(), fault::live_nodes());
    let mut world = World::new();
    let mut step = |op: &Op, failure| {
        let op = op.clone();
        let buffer = 0;
        world.apply(&Step {
            buffer,
            op,
            failure,
        })
    };
    for op in setup {
        step(op, Failure::Never);
    }
    let failed = step(op, failure);
    // The same again must work.
    step(op, Failure::Never);
    world.check();
    drop(world);
    assert_eq!((fault::live_pages(), fault::live_nodes()), before, "leaked");
    failed
}

fn run_all(failure: impl Fn(u8) -> Failure) {
    let mut count = 0;
    for setup in setups() {
        for op in operations() {
            let failing = (0..).take_while(|n| run(&setup, &op, failure(*n)));
            count += failing.count();
        }
    }
    println!("{count} failures");
    assert!(count > 1000);
}

#[test]
fn no_allocation_works_from_the_nth_on() {
    run_all(Failure::After);
}

#[test]
fn the_nth_allocation_fails() {
    run_all(Failure::Once);
}
