// SPDX-License-Identifier: GPL-2.0

//! Inodes: how they are made, and the inode operations of regular files.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::FileSystem;
use crate::sys::{
    bindings as helpers,
    file_operations::Vtable,
    inode::InodeRef,
    mmap::{
        fault_result,
        is_shared,
        Fault, //
    },
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    ffi::c_int,
    prelude::*,
    types::ForeignOwnable, //
};

/// Mode bits that a write would have to clear.
const SET_ID: u16 = (bindings::S_ISUID | bindings::S_ISGID) as u16;

/// The VFS's fields of a new inode.
pub(super) struct Description<'a> {
    pub(super) number: u64,
    /// The type and the permissions.
    pub(super) mode: u16,
    /// The idmapping of the mount that it is made through.
    pub(super) idmap: *mut bindings::mnt_idmap,
    /// The directory that it is made in. A set-group-ID directory passes on its group.
    pub(super) parent: Option<&'a InodeRef>,
}

/// Makes an inode of `sb`, which belongs to the current task. `ENOMEM`.
///
/// # Safety
///
/// `sb` and `description.idmap` must be valid.
pub(super) unsafe fn new(
    sb: *mut bindings::super_block,
    description: &Description<'_>,
) -> Result<InodeRef> {
    // SAFETY: By the caller's promise.
    let inode = unsafe { bindings::new_inode(sb) };
    // SAFETY: The reference is ours.
    let inode = unsafe { InodeRef::from_raw(NonNull::new(inode).ok_or(ENOMEM)?) };
    let parent = description
        .parent
        .map_or(core::ptr::null_mut(), InodeRef::as_ptr);
    // SAFETY: The inode is new, and nobody else has it.
    unsafe {
        let raw = inode.as_ptr();
        (*raw).i_ino = description.number;
        bindings::inode_init_owner(description.idmap, raw, parent, description.mode);
        bindings::simple_inode_init_ts(raw);
    }
    Ok(inode)
}

/// Makes a new inode a regular file.
///
/// # Safety
///
/// Nobody else may have the inode, which is one of the file system `T`.
pub(super) unsafe fn make_regular<T: FileSystem>(
    inode: &InodeRef,
    operations: &'static bindings::inode_operations,
    node: T::Node,
) {
    let raw = inode.as_ptr();
    // SAFETY: By the caller's promise.
    unsafe {
        (*raw).i_op = operations;
        (*raw).__bindgen_anon_3.i_fop = Vtable::<T::File>::build();
        (*raw).i_private = node.into_foreign();
    }
}

/// Makes a new inode a symbolic link, whose target `page_symlink()` stores, as in ramfs.
///
/// # Safety
///
/// Nobody else may have the inode.
pub(super) unsafe fn make_symlink(inode: &InodeRef) {
    let raw = inode.as_ptr();
    // SAFETY: By the caller's promise; the tables are static.
    unsafe {
        (*raw).i_op = &raw const bindings::page_symlink_inode_operations;
        (*(*raw).i_mapping).a_ops = &raw const bindings::ram_aops;
        helpers::qemufile_mapping_set_unevictable((*raw).i_mapping);
        bindings::inode_nohighmem(raw);
    }
}

/// Lets `linkat(2)` give a new, nameless inode a name, as after `O_TMPFILE`.
///
/// # Safety
///
/// Nobody else may have the inode.
pub(super) unsafe fn make_linkable(inode: &InodeRef) {
    let raw = inode.as_ptr();
    // SAFETY: By the caller's promise. `inode_state_set()` wants `i_lock`, which is initialised.
    unsafe {
        bindings::clear_nlink(raw);
        let lock = &raw mut (*raw).i_lock;
        bindings::spin_lock(lock);
        helpers::qemufile_inode_state_set(raw, bindings::inode_state_flags_enum_I_LINKABLE);
        bindings::spin_unlock(lock);
    }
}

/// Makes a dentry for an inode without a name. `/proc/PID/fd` shows it as a deleted file in the
/// root directory. `ENOMEM`.
///
/// The caller owns the reference to the result.
///
/// # Safety
///
/// `inode` must be valid, of a superblock with a root.
pub(super) unsafe fn nameless_dentry(inode: *mut bindings::inode) -> Result<*mut bindings::dentry> {
    // SAFETY: By the caller's promise. The dentry takes over a reference to the inode.
    unsafe {
        let root = (*(*inode).i_sb).s_root;
        let dentry = bindings::d_alloc_name(root, c"qemufile".as_char_ptr());
        if dentry.is_null() {
            return Err(ENOMEM);
        }
        bindings::ihold(inode);
        bindings::d_instantiate(dentry, inode);
        Ok(dentry)
    }
}

/// Lets the security modules label a new inode, made in `dir`. `name` is null for a nameless one.
///
/// # Safety
///
/// All must be valid, and nobody else have the inode.
pub(super) unsafe fn secure(
    inode: &InodeRef,
    dir: *mut bindings::inode,
    name: *const bindings::qstr,
) -> Result {
    // SAFETY: By the caller's promise.
    to_result(unsafe { helpers::qemufile_security_inode_init(inode.as_ptr(), dir, name) })
}

/// Frees the data of an inode.
///
/// # Safety
///
/// `inode` must be one of the file system `T` that nobody refers to any more.
pub(super) unsafe fn evict<T: FileSystem>(inode: *mut bindings::inode) {
    // SAFETY: By the caller's promise. Regular files own `i_private`; others have none.
    unsafe {
        bindings::truncate_inode_pages_final(&mut (*inode).i_data);
        bindings::clear_inode(inode);
        if !(*inode).i_private.is_null() {
            drop(T::Node::from_foreign((*inode).i_private));
        }
    }
}

/// The inode operations of regular files, and the operations of their mappings.
pub(super) struct Regular<T>(PhantomData<T>);

impl<T: FileSystem> Regular<T> {
    pub(super) const TABLE: bindings::inode_operations = bindings::inode_operations {
        getattr: Some(Self::getattr),
        setattr: Some(Self::setattr),
        ..pin_init::zeroed()
    };

    pub(super) const MAPPING: bindings::vm_operations_struct = bindings::vm_operations_struct {
        open: Some(Self::mapping_opened),
        close: Some(Self::mapping_closed),
        fault: Some(Self::fault),
        map_pages: Some(Self::map_pages),
        page_mkwrite: Some(Self::fault),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `path` must be of a regular file of this file system, `stat` writable.
    pub(super) unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        mask: u32,
        _flags: u32,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        unsafe {
            let inode = (*(*path).dentry).d_inode;
            bindings::generic_fillattr(idmap, mask, inode, stat);
            let (size, allocated) = T::size(T::Node::borrow((*inode).i_private));
            (*stat).size = size;
            (*stat).blocks = allocated.div_ceil(512);
        }
        0
    }

    /// # Safety
    ///
    /// `dentry` must be of a regular file of this file system, which the caller has locked; `attr`
    /// must be valid.
    pub(super) unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the caller's promise.
            unsafe {
                to_result(bindings::setattr_prepare(idmap, dentry, attr))?;
                let inode = (*dentry).d_inode;
                let set = (*attr).ia_valid;
                // Writes do not clear these bits.
                if set & bindings::ATTR_MODE != 0 && (*attr).ia_mode & SET_ID != 0 {
                    return Err(EPERM);
                }
                if set & bindings::ATTR_SIZE != 0 {
                    T::set_size(T::Node::borrow((*inode).i_private), (*attr).ia_size)?;
                    helpers::qemufile_inode_changed(inode);
                }
                bindings::setattr_copy(idmap, inode, attr);
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `fault` must be valid and in a mapping of a file of this file system.
    unsafe extern "C" fn fault(fault: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: By the caller's promise.
        let (node, fault) = unsafe {
            let inode = (*(*(*fault).__bindgen_anon_1.vma).vm_file).f_inode;
            (T::Node::borrow((*inode).i_private), Fault::from_raw(fault))
        };
        fault_result(T::fault(node, &fault))
    }

    /// Maps no page around a fault: it may not sleep, and no function that maps pages without it is
    /// exported. [`FileSystem::fault`] may map some. That it exists lets faults happen under the lock
    /// of the area alone, without `mmap_lock` (`vmf_can_call_fault()` in `mm/memory.c`).
    ///
    /// # Safety
    ///
    /// None is needed; the type of the table has it so.
    unsafe extern "C" fn map_pages(
        _fault: *mut bindings::vm_fault,
        _first: usize,
        _last: usize,
    ) -> bindings::vm_fault_t {
        0
    }

    /// # Safety
    ///
    /// `vma` must be a new part or copy of a mapping of a file of this file system.
    unsafe extern "C" fn mapping_opened(vma: *mut bindings::vm_area_struct) {
        // SAFETY: By the caller's promise.
        unsafe {
            if is_shared(vma) {
                T::mapping_added(T::Node::borrow((*(*(*vma).vm_file).f_inode).i_private));
            }
        }
    }

    /// # Safety
    ///
    /// `vma` must be a mapping of a file of this file system that is going away. It has no pages
    /// any more.
    unsafe extern "C" fn mapping_closed(vma: *mut bindings::vm_area_struct) {
        // SAFETY: By the caller's promise. `remove_vma()` puts the file after this call.
        unsafe {
            if is_shared(vma) {
                T::mapping_removed(T::Node::borrow((*(*(*vma).vm_file).f_inode).i_private));
            }
        }
    }
}

/// The mode of a new regular file.
pub(super) fn regular_mode(mode: u16) -> u16 {
    bindings::S_IFREG as u16 | mode & !SET_ID & 0o7777
}
