// SPDX-License-Identifier: GPL-2.0

//! The options of a mount, and messages about them.
//!
//! C headers: [`include/linux/fs_context.h`](srctree/include/linux/fs_context.h),
//! [`include/linux/fs_parser.h`](srctree/include/linux/fs_parser.h)

use super::{
    owner::{
        Kgid,
        Kuid, //
    },
    super_block,
    FileSystem, //
};
use crate::sys::bindings as helpers;
use core::marker::PhantomData;
use kernel::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    types::ForeignOwnable, //
};

/// An option: its name and the kind of its value.
#[repr(transparent)]
pub(crate) struct Parameter(helpers::fs_parameter_spec);

impl Parameter {
    /// Ends a table of parameters.
    pub(crate) const END: Self = Self(helpers::fs_parameter_spec {
        name: core::ptr::null(),
        type_: None,
        opt: 0,
        flags: 0,
        data: core::ptr::null(),
    });

    const fn new(name: &'static CStr, option: u8, type_: helpers::fs_param_type) -> Self {
        Self(helpers::fs_parameter_spec {
            name: kernel::str::as_char_ptr_in_const_context(name),
            type_,
            opt: option,
            ..Self::END.0
        })
    }

    /// `name=TEXT`
    pub(crate) const fn text(name: &'static CStr, option: u8) -> Self {
        Self::new(name, option, Some(helpers::fs_param_is_string))
    }

    /// `name=NUMBER`, in octal digits.
    pub(crate) const fn octal(name: &'static CStr, option: u8) -> Self {
        let mut spec = Self::new(name, option, Some(helpers::fs_param_is_u32));
        spec.0.data = core::ptr::without_provenance(8);
        spec
    }

    /// `name=UID`
    pub(crate) const fn user(name: &'static CStr, option: u8) -> Self {
        Self::new(name, option, Some(helpers::fs_param_is_uid))
    }

    /// `name=GID`
    pub(crate) const fn group(name: &'static CStr, option: u8) -> Self {
        Self::new(name, option, Some(helpers::fs_param_is_gid))
    }

    /// `name` or `noname`
    pub(crate) const fn flag(name: &'static CStr, option: u8) -> Self {
        let mut spec = Self::new(name, option, None);
        spec.0.flags = helpers::fs_param_neg_with_no as u16;
        spec
    }
}

/// A parsed value. The kind of the parameter decides which method applies.
pub(crate) struct Value<'a> {
    result: helpers::fs_parse_result,
    text: Option<&'a CStr>,
}

impl Value<'_> {
    /// The value of a [`Parameter::text`].
    pub(crate) fn text(&self) -> Option<&CStr> {
        self.text
    }

    /// The value of a [`Parameter::octal`].
    pub(crate) fn number(&self) -> u32 {
        // SAFETY: All bits of the union are set, and any bits are a number.
        unsafe { *self.result.__bindgen_anon_1.uint_32.as_ref() }
    }

    /// The value of a [`Parameter::user`].
    pub(crate) fn user(&self) -> Kuid {
        // SAFETY: As above; a `kuid_t` is a number.
        Kuid(unsafe { *self.result.__bindgen_anon_1.uid.as_ref() })
    }

    /// The value of a [`Parameter::group`].
    pub(crate) fn group(&self) -> Kgid {
        // SAFETY: As above; a `kgid_t` is a number.
        Kgid(unsafe { *self.result.__bindgen_anon_1.gid.as_ref() })
    }

    /// Whether a [`Parameter::flag`] was given without its "no".
    pub(crate) fn is_set(&self) -> bool {
        !self.result.negated
    }
}

/// The message log of a mount: read through the descriptor of `fsopen(2)`, or the kernel's log.
pub(crate) struct Log<'a> {
    context: *mut helpers::fs_context,
    _lifetime: PhantomData<&'a mut helpers::fs_context>,
}

impl Log<'_> {
    /// Logs an error of the mount or of an option. Returns `EINVAL`.
    pub(crate) fn refuse(&self, what: &'static CStr) -> Error {
        // SAFETY: The context is valid, the format takes one string, and both are static.
        unsafe {
            helpers::logfc(
                (*self.context).log.log,
                (*self.context).log.prefix,
                b'e',
                c"%s".as_char_ptr(),
                what.as_char_ptr(),
            );
        }
        EINVAL
    }
}

/// The context operations of a mountable file system.
pub(super) struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const TABLE: helpers::fs_context_operations = helpers::fs_context_operations {
        free: Some(Self::free),
        dup: None,
        parse_param: Some(Self::parse_param),
        parse_monolithic: None,
        get_tree: Some(Self::get_tree),
        reconfigure: Some(Self::reconfigure),
    };

    /// # Safety
    ///
    /// `fc` must be a new context for a superblock of the file system `T`.
    pub(super) unsafe extern "C" fn init(fc: *mut bindings::fs_context) -> c_int {
        let fc = fc.cast::<helpers::fs_context>();
        from_result(|| {
            let options = KBox::new(T::Options::default(), GFP_KERNEL)?;
            // SAFETY: By the caller's promise; the table is static.
            unsafe {
                (*fc).fs_private = options.into_foreign();
                (*fc).ops = &Self::TABLE;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `fc` must have been set up by `init`, and be used by nobody else.
    unsafe fn log<'a>(fc: *mut helpers::fs_context) -> Log<'a> {
        Log {
            context: fc,
            _lifetime: PhantomData,
        }
    }

    /// # Safety
    ///
    /// `fc` must have been set up by `init`, and be used by nobody else.
    unsafe fn options<'a>(fc: *mut helpers::fs_context) -> &'a mut T::Options {
        // SAFETY: `init` has put a `KBox` there, which stays until `free`.
        unsafe { &mut *(*fc).fs_private.cast::<T::Options>() }
    }

    /// # Safety
    ///
    /// `fc` must have been set up by `init`; `param` must be valid.
    unsafe extern "C" fn parse_param(
        fc: *mut helpers::fs_context,
        param: *mut helpers::fs_parameter,
    ) -> c_int {
        let mut result = helpers::fs_parse_result::default();
        // SAFETY: All are valid, and the table has an end.
        let option = unsafe {
            helpers::__fs_parse(
                &mut (*fc).log,
                T::PARAMETERS.as_ptr().cast(),
                param,
                &mut result,
            )
        };
        if option == ENOPARAM {
            // SAFETY: Both are valid.
            return unsafe { helpers::vfs_parse_fs_param_source(fc, param) };
        }
        from_result(|| {
            let option = u8::try_from(option).map_err(|_| Error::from_errno(option))?;
            // SAFETY: Both are valid; a value that is a string ends with a NUL.
            let (text, log, options) = unsafe {
                let is_text = (*param).type_() == helpers::fs_value_type_fs_value_is_string;
                let text = is_text.then(|| CStr::from_char_ptr((*param).__bindgen_anon_1.string));
                (text, Self::log(fc), Self::options(fc))
            };
            T::set_option(options, &log, option, Value { result, text })?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `fc` must have been set up by `init`.
    unsafe extern "C" fn get_tree(fc: *mut helpers::fs_context) -> c_int {
        from_result(|| {
            // SAFETY: By the caller's promise.
            let bounds = unsafe { T::mount(Self::options(fc))? };
            // SAFETY: As above. A new superblock takes `s_fs_info`, and `kill_sb` frees it.
            unsafe {
                (*fc).s_fs_info = bounds.into_foreign();
                to_result(helpers::get_tree_nodev(
                    fc,
                    Some(super_block::fill_named::<T>),
                ))?;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `fc` must have been set up by `init`, for a superblock of the file system `T`.
    unsafe extern "C" fn reconfigure(fc: *mut helpers::fs_context) -> c_int {
        from_result(|| {
            // SAFETY: A context for a remount has the root, and so the superblock.
            unsafe {
                let bounds = super_block::bounds::<T>((*(*fc).root).d_sb);
                T::remount(bounds, Self::options(fc), &Self::log(fc))?;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `fc` must have been set up by `init`; this is the last call for it.
    unsafe extern "C" fn free(fc: *mut helpers::fs_context) {
        // SAFETY: Both were made by `into_foreign`. `s_fs_info` is null if a superblock has it.
        unsafe {
            drop(KBox::<T::Options>::from_foreign((*fc).fs_private));
            let bounds: *mut c_void = (*fc).s_fs_info;
            if !bounds.is_null() {
                drop(KBox::<T::Bounds>::from_foreign(bounds));
            }
        }
    }
}

/// `ENOPARAM`, of `include/linux/errno.h`, as the negative number: no option has this name.
const ENOPARAM: c_int = -(bindings::ENOPARAM as c_int);
