// SPDX-License-Identifier: GPL-2.0

//! Operations on buffers, drawn at random by the property tests or picked by the fuzzer.

use crate::{sized_buffer::MAX_LEN, sys::page::PAGE_SIZE};

const PAGE_BYTES: u64 = PAGE_SIZE as u64;
const LEAF_BYTES: u64 = 64 * PAGE_BYTES;

/// A position, drawn so that the interesting ones are likely.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Place(pub u32);

impl Place {
    pub fn pos(self) -> u64 {
        let n = u64::from(self.0 >> 3);
        let nearby = (n >> 8) % 5;
        let around = |edge: u64| (edge + nearby).saturating_sub(2);
        match self.0 % 8 {
            0..=3 => n % (80 * PAGE_BYTES),
            4 => around(n % 200 * PAGE_BYTES),
            5 => around(n % 70 * LEAF_BYTES),
            6 => around(1 << (n % 63)),
            _ => MAX_LEN - n % (3 * PAGE_BYTES),
        }
    }
}

/// A number of bytes, drawn so that the interesting ones are likely.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Size(pub u32);

impl Size {
    pub fn bytes(self) -> usize {
        let n = (self.0 >> 3) as usize;
        match self.0 % 8 {
            0..=2 => n % 64,
            3..=4 => n % (3 * PAGE_SIZE),
            5 => n % 24 * PAGE_SIZE,
            6 => (n % 40 * PAGE_SIZE + n % 3).saturating_sub(1),
            _ => n % (70 * PAGE_SIZE),
        }
    }
}

/// One thing to do. `Place`s and `Size`s are of the buffer that is picked.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Op {
    /// Writes what `seed` makes; the source fails after `good` bytes, if that is fewer.
    Write(Place, Size, u8, Option<Size>),
    /// The same, taken back unless all was written.
    AtomicWrite(Place, Size, u8, Option<Size>),
    WriteAt(Place, Size, u8),
    /// As `Write`, as it is done beside other writes: in place, or by new pages.
    WriteBeside(Place, Size, u8, Option<Size>),
    /// Reads; the sink fails after so many bytes.
    Read(Place, Size, Option<Size>),
    SetLen(Place),
    /// Sets a length near the present one.
    Resize(i16),
    Append(Size, u8),
    Punch(Place, Place),
    PunchNear(Place, Size),
    /// Makes a run of pages a hole, and keeps them for later writes.
    Recycle(Place),
    Reserve(Place, Size),
    Next(Place),
    Clone,
    Drop,
    Lend(Place),
    /// Asks for a page as a mapping does.
    Map(Place),
    GiveBack,
    /// Keeps a page that a mapping shows.
    Pin(Place),
    Unpin,
    /// Builds what a write would leave beside the buffer, and then takes it over.
    TakeWrite(Place, Size, u8),
    /// Takes over a range of another buffer, which then shares it.
    TakeShared(Place, Size, u8),
    /// Takes a fresh page in, or one lent out before.
    ReplacePage(Place, bool, u8),
    /// Looks at every chunk.
    Chunks(Place, Size),
}

/// How allocation fails during an operation.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Failure {
    Never,
    /// All allocations but so many.
    After(u8),
    /// The one after so many.
    Once(u8),
    /// Those of more than `1 << n` pages.
    Order(u8),
}

/// An operation on one of the buffers.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Step {
    pub buffer: u8,
    pub op: Op,
    pub failure: Failure,
}
