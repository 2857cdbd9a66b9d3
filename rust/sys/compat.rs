// SPDX-License-Identifier: GPL-2.0

//! Where the kernels that the module builds for differ. The module is written for the newest of
//! them; `Kbuild` sets `linux_7_2` for Linux 7.2.

use kernel::{
    bindings,
    time::Delta, //
};

#[cfg(not(linux_7_2))]
pub(crate) use kernel::error::code::EOPNOTSUPP;
/// C's `EOPNOTSUPP`.
#[cfg(linux_7_2)]
pub(crate) const EOPNOTSUPP: kernel::error::Error =
    kernel::error::Error::from_errno(-(bindings::EOPNOTSUPP as kernel::ffi::c_int));

/// C's `THIS_MODULE`.
pub(crate) const fn this_module() -> *mut bindings::module {
    #[cfg(not(linux_7_2))]
    let module = kernel::module::this_module::<crate::LocalModule>();
    #[cfg(linux_7_2)]
    let module = &crate::THIS_MODULE;
    module.as_ptr()
}

/// The milliseconds of `time`, rounded up.
pub(crate) fn as_millis_ceil(time: Delta) -> i64 {
    #[cfg(not(linux_7_2))]
    let millis = time.as_millis_ceil();
    #[cfg(linux_7_2)]
    let millis = match time.as_nanos() {
        nanos @ 1.. => (nanos - 1) / 1_000_000 + 1,
        nanos => nanos / 1_000_000,
    };
    millis
}
