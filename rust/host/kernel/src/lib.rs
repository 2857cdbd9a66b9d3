// SPDX-License-Identifier: GPL-2.0

//! Stand-in for the `kernel` crate: the few items that the driver's portable parts use, with the
//! same names, types and meaning. [`fault`] is for the tests alone.

pub use macros;

pub mod alloc;
pub mod error;
pub mod fault;
mod kvec;
pub mod sync;

pub mod prelude {
    //! What `kernel::prelude` has of this.

    pub use crate::{
        alloc::{flags::*, KVec},
        error::{code::*, Error, Result},
    };
    pub use macros::kunit_tests;
}
