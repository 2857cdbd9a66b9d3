// SPDX-License-Identifier: GPL-2.0

//! Users and groups, as the kernel numbers them.
//!
//! C header: [`include/linux/uidgid.h`](srctree/include/linux/uidgid.h)

use kernel::bindings;

/// A user.
#[derive(Clone, Copy)]
pub(crate) struct Kuid(pub(super) bindings::kuid_t);

impl Kuid {
    /// The number in the first user namespace.
    pub(crate) fn number(self) -> u32 {
        // SAFETY: The namespace is static.
        unsafe { bindings::from_kuid_munged(&raw mut bindings::init_user_ns, self.0) }
    }
}

/// A group.
#[derive(Clone, Copy)]
pub(crate) struct Kgid(pub(super) bindings::kgid_t);

impl Kgid {
    /// The number in the first user namespace.
    pub(crate) fn number(self) -> u32 {
        // SAFETY: The namespace is static.
        unsafe { bindings::from_kgid_munged(&raw mut bindings::init_user_ns, self.0) }
    }
}

/// The owner of a root directory. `None` is the task that mounts.
pub(crate) struct Owner {
    pub(crate) user: Option<Kuid>,
    pub(crate) group: Option<Kgid>,
}
