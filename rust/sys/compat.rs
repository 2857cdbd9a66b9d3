// SPDX-License-Identifier: GPL-2.0

//! Where the kernels that the module builds for differ. The module is written for the newest of
//! them; `Kbuild` sets `linux_7_2` for Linux 7.2.

use kernel::{
    bindings,
    module_param::ModuleParamAccess,
    sync::barrier,
    time::Delta, //
};

#[cfg(linux_7_2)]
use kernel::error::Error;

#[cfg(not(linux_7_2))]
pub(crate) use kernel::error::code::{
    ENOBUFS,
    EOPNOTSUPP, //
};

/// C's `ENOBUFS`.
#[cfg(linux_7_2)]
pub(crate) const ENOBUFS: Error = error(bindings::ENOBUFS);
/// C's `EOPNOTSUPP`.
#[cfg(linux_7_2)]
pub(crate) const EOPNOTSUPP: Error = error(bindings::EOPNOTSUPP);

/// An error that the kernel crate of Linux 7.2 has no constant for.
#[cfg(linux_7_2)]
const fn error(number: u32) -> Error {
    assert!(number > 0 && number < bindings::MAX_ERRNO);
    // SAFETY: `Error` has one field, a `NonZeroI32`, and so the layout of that; the compiler checks
    // the size. The number is a negative error number, as the type wants.
    unsafe { core::mem::transmute::<i32, Error>(-(number as i32)) }
}

/// C's `smp_mb()`: a full barrier between processors.
pub(crate) fn smp_mb() {
    #[cfg(not(linux_7_2))]
    barrier::smp_mb(barrier::Full);
    #[cfg(linux_7_2)]
    barrier::smp_mb();
}

/// The value of a parameter of the module.
pub(crate) fn parameter<T: Copy>(parameter: &ModuleParamAccess<T>) -> T {
    #[cfg(not(linux_7_2))]
    let value = *parameter.value_ref();
    #[cfg(linux_7_2)]
    let value = *parameter.value();
    value
}

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
