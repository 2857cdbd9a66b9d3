// SPDX-License-Identifier: GPL-2.0

//! Superblocks, and the registration of the file system that users mount.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    context,
    dir,
    node,
    owner::Owner,
    FileSystem,
    FileSystemType, //
};
use crate::sys::{
    bindings as helpers,
    inode::InodeRef,
    page::PAGE_SIZE, //
};
use core::marker::PhantomData;
use kernel::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    ffi::c_int,
    prelude::*,
    seq_file::SeqFile,
    types::ForeignOwnable, //
};

/// The bounds of the superblock of a mount by users.
///
/// # Safety
///
/// `sb` must be such a superblock of the file system `T`, valid for `'a`.
pub(super) unsafe fn bounds<'a, T: FileSystem>(sb: *mut bindings::super_block) -> &'a T::Bounds {
    // SAFETY: `get_tree` has put a `KBox` there, which stays until `kill_sb`.
    unsafe { &*(*sb).s_fs_info.cast::<T::Bounds>() }
}

/// Sets up a superblock, with a root directory that is counted already.
///
/// # Safety
///
/// `sb` must be a new superblock of the file system `T`.
pub(super) unsafe fn fill<T: FileSystem>(
    sb: *mut bindings::super_block,
    operations: &'static bindings::super_operations,
    mode: u16,
) -> Result<InodeRef> {
    // SAFETY: By the caller's promise, nobody else has the superblock.
    unsafe {
        (*sb).s_maxbytes = i64::MAX;
        (*sb).s_blocksize = PAGE_SIZE;
        (*sb).s_blocksize_bits = PAGE_SIZE.trailing_zeros() as u8;
        (*sb).s_magic = T::MAGIC as usize;
        (*sb).s_op = operations;
        (*sb).s_time_gran = 1;
        let root = dir::root::<T>(sb, mode)?;
        // `d_make_root` takes over a reference, whatever it returns.
        (*sb).s_root = bindings::d_make_root(root.clone().into_raw());
        if (*sb).s_root.is_null() {
            return Err(ENOMEM);
        }
        Ok(root)
    }
}

/// `fill_super` of a mount by users.
///
/// # Safety
///
/// `sb` must be a new superblock that owns a `T::Bounds`.
pub(super) unsafe extern "C" fn fill_named<T: FileSystem>(
    sb: *mut bindings::super_block,
    _fc: *mut helpers::fs_context,
) -> c_int {
    from_result(|| {
        // SAFETY: By the caller's promise; the inode is not in use yet.
        unsafe {
            let (mode, Owner { user, group }) = T::root(bounds::<T>(sb));
            let root = fill::<T>(sb, &Operations::<T>::TABLE, mode)?.as_ptr();
            if let Some(user) = user {
                (*root).i_uid = user.0;
            }
            if let Some(group) = group {
                (*root).i_gid = group.0;
            }
        }
        Ok(0)
    })
}

/// The superblock operations of a mount by users.
struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const TABLE: bindings::super_operations = bindings::super_operations {
        drop_inode: Some(bindings::inode_just_drop),
        evict_inode: Some(Self::evict_inode),
        statfs: Some(Self::statfs),
        show_options: Some(Self::show_options),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `inode` must be an inode of this file system that nobody refers to any more.
    unsafe extern "C" fn evict_inode(inode: *mut bindings::inode) {
        // SAFETY: By the caller's promise. All inodes go before the superblock's `bounds`.
        unsafe {
            node::evict::<T>(inode);
            T::give_inode(bounds::<T>((*inode).i_sb));
        }
    }

    /// # Safety
    ///
    /// `dentry` must be of this file system, and `stat` writable.
    unsafe extern "C" fn statfs(
        dentry: *mut bindings::dentry,
        stat: *mut bindings::kstatfs,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the caller's promise. `struct kstatfs` is opaque in `kernel::bindings`.
            unsafe {
                to_result(bindings::simple_statfs(dentry, stat))?;
                let stat = &mut *stat.cast::<helpers::kstatfs>();
                let figures = T::statfs(bounds::<T>((*dentry).d_sb));
                stat.f_blocks = figures.blocks;
                stat.f_bfree = figures.free_blocks;
                stat.f_bavail = figures.free_blocks;
                stat.f_files = figures.inodes;
                stat.f_ffree = figures.free_inodes;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `root` must be of this file system, and `seq` being shown.
    unsafe extern "C" fn show_options(
        seq: *mut bindings::seq_file,
        root: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        unsafe { T::show_options(bounds::<T>((*root).d_sb), SeqFile::from_raw(seq)) };
        0
    }
}

/// # Safety
///
/// `sb` must be a superblock of the file system `T` that is going.
unsafe extern "C" fn kill_sb<T: FileSystem>(sb: *mut bindings::super_block) {
    // SAFETY: By the caller's promise. Nobody uses what the superblock owns after its last inode.
    unsafe {
        let bounds = (*sb).s_fs_info;
        bindings::kill_anon_super(sb);
        if !bounds.is_null() {
            drop(KBox::<T::Bounds>::from_foreign(bounds));
        }
    }
}

impl<T: FileSystem> FileSystemType<T> {
    /// The type that users mount. Mounting it in a user namespace is `EPERM`.
    pub(crate) const fn named() -> Self {
        Self::new(context::Operations::<T>::init, kill_sb::<T>, T::PARAMETERS)
    }
}

/// Keeps a file system type known to `mount(2)`.
pub(crate) struct Registration<T: FileSystem>(&'static FileSystemType<T>);

impl<T: FileSystem> Registration<T> {
    /// `EBUSY` if there is a file system of this name.
    pub(crate) fn new(fs_type: &'static FileSystemType<T>) -> Result<Self> {
        // SAFETY: The type is static.
        to_result(unsafe { bindings::register_filesystem(fs_type.as_ptr()) })?;
        Ok(Self(fs_type))
    }
}

impl<T: FileSystem> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: Registered in `new`. A superblock keeps the module, so there is none.
        unsafe { bindings::unregister_filesystem(self.0.as_ptr()) };
    }
}
