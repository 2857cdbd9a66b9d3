// SPDX-License-Identifier: GPL-2.0

//! The ABI of [`include/uapi/linux/qemufile.h`], generated from that header by bindgen (see
//! `Kbuild`), with compile-time checks of each struct's size and of each field's place.
//!
//! [`include/uapi/linux/qemufile.h`]: ../../include/uapi/linux/qemufile.h

#[allow(
    clippy::all,
    dead_code,
    missing_docs,
    non_camel_case_types,
    unreachable_pub
)]
mod generated {
    use kernel::ffi;

    include!(env!("QEMUFILE_ABI"));
}

pub(crate) use self::generated::*;
use kernel::transmute::{
    AsBytes,
    FromBytes, //
};

/// Lets structs be copied from and to user space as bytes.
macro_rules! plain {
    ($($name:ident,)*) => {$(
        const _: () = {
            const fn is_plain<T: zerocopy::FromBytes + zerocopy::IntoBytes>() {}
            is_plain::<$name>();
        };
        // SAFETY: `zerocopy`, whose traits bindgen derives, has checked that any bytes are a value.
        unsafe impl FromBytes for $name {}
        // SAFETY: `zerocopy` has checked that there is no padding.
        unsafe impl AsBytes for $name {}
    )*};
}

plain! {
    qemufile_info,
    qemufile_length,
    qemufile_extent,
    qemufile_range,
    qemufile_diff,
    qemufile_usage,
    qemufile_open,
    qemufile_record,
    qemufile_vector,
    qemufile_skip,
    qemufile_error,
    qemufile_rate,
    qemufile_limit,
    qemufile_flags,
    qemufile_ram_control,
    qemufile_save_page,
}
