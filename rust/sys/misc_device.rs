// SPDX-License-Identifier: GPL-2.0

//! A character device of the `misc` class.
//!
//! The `kernel` crate's registration is tied to its own table of operations.
//!
//! C header: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use super::file_operations::{
    FileOperations,
    Vtable, //
};
use core::marker::PhantomData;
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// A device node in `/dev` for as long as it lives.
///
/// # Invariants
///
/// `device` is registered.
#[pin_data(PinnedDrop)]
pub(crate) struct Registration<T: FileOperations> {
    #[pin]
    device: Opaque<bindings::miscdevice>,
    _operations: PhantomData<fn() -> T>,
}

// SAFETY: A device may be deregistered by another thread than the one that registered it.
unsafe impl<T: FileOperations> Send for Registration<T> {}
// SAFETY: There is nothing to be done with a `&Registration`.
unsafe impl<T: FileOperations> Sync for Registration<T> {}

impl<T: FileOperations> Registration<T> {
    /// Registers `/dev/<name>` with the given permissions and a minor number that is free.
    ///
    /// Errors are those of `misc_register()`: `EEXIST`, `ENOMEM`, `EBUSY`.
    pub(crate) fn register(name: &'static CStr, mode: u16) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            device <- Opaque::try_ffi_init(move |slot: *mut bindings::miscdevice| {
                let device = bindings::miscdevice {
                    minor: bindings::MISC_DYNAMIC_MINOR as i32,
                    name: kernel::str::as_char_ptr_in_const_context(name),
                    fops: Vtable::<T>::build(),
                    mode,
                    ..pin_init::zeroed()
                };
                // SAFETY: The slot is valid for writes.
                unsafe { slot.write(device) };
                // SAFETY: The device is initialised, and pinned until it is deregistered in
                // `drop`. INVARIANT: The slot counts as initialised only if this succeeds.
                to_result(unsafe { bindings::misc_register(slot) })
            }),
            _operations: PhantomData,
        })
    }
}

#[pinned_drop]
impl<T: FileOperations> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The device is registered by the type invariant. No file is open on it, nor can
        // one be: this runs when the module goes, which open files keep from happening.
        unsafe { bindings::misc_deregister(self.device.get()) };
    }
}
