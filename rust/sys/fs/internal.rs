// SPDX-License-Identifier: GPL-2.0

//! The module's internal mount of a file system, for regular files without names.
//!
//! The mount lives as long as the module. Those of memfd, secretmem and dma-buf are never
//! unmounted. A module has to be removable, but a superblock holds a reference to the module
//! (`file_system_type::owner`). [`Mounted`] therefore drops that reference, and each *inode* holds
//! one instead. So an `O_PATH` descriptor keeps the module, too, although no operation is called
//! for it. When the module is removed, the root is the only inode left: [`Mounted`] takes the
//! reference back and unmounts. Another task may still be between its last `iput()` and its
//! `mntput()`, so the module waits until the superblock has dropped the reference.
//!
//! There is one inode for each number, and one dentry for each file. Access is decided when a
//! descriptor is made: `d_fsdata` holds the access that an open through `/proc/PID/fd` may request.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/mount.h`](srctree/include/linux/mount.h)

use super::{
    node::{
        self,
        Regular, //
    },
    super_block::fill,
    FileSystem,
    FileSystemType,
    Mount, //
};
use crate::sys::{
    bindings as helpers,
    compat::this_module,
    inode::InodeRef, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        from_result, //
    },
    ffi::c_int,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Relaxed,
        Release, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
};

/// The access bits of a file's mode.
const ACCESS: bindings::fmode_t = helpers::QEMUFILE_FMODE_READ | helpers::QEMUFILE_FMODE_WRITE;

/// The file system type and the module's own mount of it. It has to be a `static`.
pub(crate) struct Internal<T: FileSystem> {
    fs_type: FileSystemType<T>,
    /// Null unless there is a [`Mounted`].
    mount: Atomic<*mut bindings::vfsmount>,
}

// SAFETY: A mount is used on any thread.
unsafe impl<T: FileSystem> Sync for Internal<T> {}

impl<T: FileSystem> Internal<T> {
    pub(crate) const fn new() -> Self {
        Self {
            fs_type: FileSystemType::new(init::<T>, bindings::kill_anon_super, &[]),
            mount: Atomic::new(core::ptr::null_mut()),
        }
    }

    /// Mounts the file system, once. `ENOMEM`.
    pub(crate) fn mount(&'static self) -> Result<Mounted<T>> {
        // SAFETY: The type is static.
        let mount = from_err_ptr(unsafe { bindings::kern_mount(self.fs_type.as_ptr()) })?;
        // SAFETY: The superblock's reference, which `drop` takes back.
        unsafe { bindings::module_put(this_module()) };
        self.mount.store(mount, Release);
        Ok(Mounted(self))
    }

    /// The mount for files that are not made through a file of the file system. `ENODEV` if not
    /// mounted.
    pub(crate) fn place(&'static self) -> Result<Mount<'static, T>> {
        let mount = NonNull::new(self.mount.load(Acquire)).ok_or(ENODEV)?;
        // SAFETY: The mount stays while the module's code can be called.
        Ok(unsafe { Mount::new(mount, None) })
    }
}

/// Keeps an [`Internal`] mounted. The module's state must own it, so that it is dropped at unload.
pub(crate) struct Mounted<T: FileSystem>(&'static Internal<T>);

impl<T: FileSystem> Drop for Mounted<T> {
    fn drop(&mut self) {
        let mount = self.0.mount.xchg(core::ptr::null_mut(), Relaxed);
        let module = this_module();
        // SAFETY: The module is the one that is running this. Only a superblock has more references
        // to it now than before.
        unsafe {
            let before = bindings::module_refcount(module);
            bindings::__module_get(module);
            bindings::kern_unmount(mount);
            while bindings::module_refcount(module) > before {
                fsleep(Delta::from_millis(1));
            }
        }
    }
}

/// # Safety
///
/// `fc` must be a new context for a superblock of the file system `T`.
unsafe extern "C" fn init<T: FileSystem>(fc: *mut bindings::fs_context) -> c_int {
    let fc = fc.cast::<helpers::fs_context>();
    // SAFETY: By the caller's promise; the table is static.
    unsafe {
        (*fc).ops = &Operations::<T>::CONTEXT;
        (*fc).sb_flags |= (helpers::QEMUFILE_SB_NOUSER | helpers::QEMUFILE_SB_NOATIME) as u32;
        (*fc).s_iflags |= (helpers::QEMUFILE_SB_I_NOEXEC | helpers::QEMUFILE_SB_I_NODEV) as u32;
        (*fc).set_global(true);
    }
    0
}

struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const CONTEXT: helpers::fs_context_operations = helpers::fs_context_operations {
        free: None,
        dup: None,
        parse_param: None,
        parse_monolithic: None,
        get_tree: Some(Self::get_tree),
        reconfigure: None,
    };

    const SUPER: bindings::super_operations = bindings::super_operations {
        drop_inode: Some(bindings::inode_just_drop),
        evict_inode: Some(Self::evict_inode),
        statfs: Some(bindings::simple_statfs),
        ..pin_init::zeroed()
    };

    const INODE: bindings::inode_operations = bindings::inode_operations {
        getattr: Some(Regular::<T>::getattr),
        setattr: Some(Self::setattr),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `fc` must have been set up by `init`.
    unsafe extern "C" fn get_tree(fc: *mut helpers::fs_context) -> c_int {
        // SAFETY: By the caller's promise.
        unsafe { helpers::get_tree_nodev(fc, Some(Self::fill_super)) }
    }

    /// # Safety
    ///
    /// `sb` must be a new superblock.
    unsafe extern "C" fn fill_super(
        sb: *mut bindings::super_block,
        _fc: *mut helpers::fs_context,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        from_result(|| unsafe { fill::<T>(sb, &Self::SUPER, 0o700).map(|_| 0) })
    }

    /// # Safety
    ///
    /// `inode` must be an inode of this file system that nobody refers to any more.
    unsafe extern "C" fn evict_inode(inode: *mut bindings::inode) {
        // SAFETY: By the caller's promise. The mount stays while this task is in here, and `drop`
        // of `Mounted` waits for that.
        unsafe {
            let is_regular = !(*inode).i_private.is_null();
            node::evict::<T>(inode);
            if is_regular {
                bindings::module_put(this_module());
            }
        }
    }

    /// # Safety
    ///
    /// As for [`Regular::setattr`].
    unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        unsafe {
            if (*dentry).d_fsdata.addr() & helpers::QEMUFILE_FMODE_WRITE as usize == 0 {
                return EACCES.to_errno();
            }
            Regular::<T>::setattr(idmap, dentry, attr)
        }
    }
}

/// Whether a superblock is that of the internal mount.
///
/// # Safety
///
/// `sb` must be valid.
pub(super) unsafe fn is_internal(sb: *mut bindings::super_block) -> bool {
    // SAFETY: By the caller's promise.
    unsafe { (*sb).s_flags & helpers::QEMUFILE_SB_NOUSER != 0 }
}

/// Finds the inode with this number, or makes it with `node`. An existing inode owns an equal node.
/// `ENOMEM`.
///
/// # Safety
///
/// `sb` must be the superblock of an [`Internal`].
pub(super) unsafe fn inode<T: FileSystem>(
    sb: *mut bindings::super_block,
    number: u64,
    node: T::Node,
) -> Result<InodeRef> {
    // SAFETY: By the caller's promise.
    let inode = unsafe { bindings::iget_locked(sb, number) };
    // SAFETY: `iget_locked` returned a reference, which is ours.
    let inode = unsafe { InodeRef::from_raw(NonNull::new(inode).ok_or(ENOMEM)?) };
    let raw = inode.as_ptr();
    // SAFETY: A new inode is locked and ours to fill in until it is unlocked. The module stays
    // during this call, as a file of it is being used, so it can be referenced once more.
    unsafe {
        let state = helpers::qemufile_inode_state_read_once(raw);
        if state & bindings::inode_state_flags_enum_I_NEW != 0 {
            let idmap = &raw mut bindings::nop_mnt_idmap;
            let no_parent = core::ptr::null();
            bindings::inode_init_owner(idmap, raw, no_parent, node::regular_mode(0o666));
            bindings::simple_inode_init_ts(raw);
            bindings::clear_nlink(raw);
            // No security label: access is decided when a descriptor is made.
            (*raw).i_flags |= bindings::S_PRIVATE;
            node::make_regular::<T>(&inode, &Operations::<T>::INODE, node);
            bindings::__module_get(this_module());
            bindings::unlock_new_inode(raw);
        }
    }
    Ok(inode)
}

/// Stores in a dentry the access that an open through `/proc/PID/fd` may request.
///
/// # Safety
///
/// `dentry` must be one of an internal file, and nobody else's.
pub(super) unsafe fn grant(dentry: *mut bindings::dentry, access: bindings::fmode_t) {
    // SAFETY: By the caller's promise.
    unsafe { (*dentry).d_fsdata = core::ptr::without_provenance_mut((access & ACCESS) as usize) };
}

/// Checks the access of an internal file that is being opened.
///
/// `EACCES` if the open requests more than was granted. A file that requests less gets its own
/// dentry: `ENOMEM`.
///
/// # Safety
///
/// `file` must be a file that is being opened, of an internal inode.
pub(super) unsafe fn claim(file: *mut bindings::file) -> Result {
    // SAFETY: By the caller's promise. The dentry is one that `grant` was called for: a magic link
    // leads to the dentry of the file itself.
    unsafe {
        let dentry = (*file).__bindgen_anon_1.f_path.dentry;
        let granted = (*dentry).d_fsdata.addr();
        let wanted = (*file).f_mode & ACCESS;
        if wanted as usize & !granted != 0 {
            return Err(EACCES);
        }
        if wanted as usize != granted {
            let own = node::nameless_dentry((*dentry).d_inode)?;
            grant(own, wanted);
            // The file is being opened, so nobody else has its path yet. It owns a reference to its
            // dentry: gives up that of the old one, and takes over that of the new one.
            (*file).__bindgen_anon_1.__f_path.dentry = own;
            bindings::dput(dentry);
        }
    }
    Ok(())
}
