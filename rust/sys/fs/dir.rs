// SPDX-License-Identifier: GPL-2.0

//! Directories: names for inodes, kept by the dentry cache alone.
//!
//! A dentry with a name has a reference of its own (`d_make_persistent()`), which
//! `simple_unlink()` drops. A name takes memory, so each name after an inode's first counts as
//! an inode, as in tmpfs.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    node::{
        self,
        Description,
        Regular, //
    },
    super_block::bounds,
    FileSystem, //
};
use crate::sys::{
    bindings as helpers,
    inode::InodeRef, //
};
use core::{
    marker::PhantomData,
    ptr::addr_of, //
};
use kernel::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_char,
        c_int,
        c_uint, //
    },
    prelude::*, //
};

const DIRECTORY: u16 = bindings::S_IFDIR as u16;
const SYMLINK: u16 = bindings::S_IFLNK as u16;

/// Makes the root directory of a new superblock.
///
/// # Safety
///
/// `sb` must be a superblock of the file system `T` without inodes.
pub(super) unsafe fn root<T: FileSystem>(
    sb: *mut bindings::super_block,
    mode: u16,
) -> Result<InodeRef> {
    let description = Description {
        number: T::number(),
        mode: DIRECTORY | mode,
        idmap: &raw mut bindings::nop_mnt_idmap,
        parent: None,
    };
    // SAFETY: By the caller's promise.
    unsafe {
        let inode = node::new(sb, &description)?;
        Operations::<T>::make_directory(&inode);
        Ok(inode)
    }
}

/// A new entry of a directory.
struct New {
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
}

impl New {
    /// Makes an inode with this number and mode, and counts it.
    ///
    /// `ENOSPC` at the limit of inodes, `ENOMEM`.
    ///
    /// # Safety
    ///
    /// The pointers must be the arguments of an operation on a directory of the file system `T`.
    unsafe fn inode<T: FileSystem>(&self, number: u64, mode: u16) -> Result<InodeRef> {
        // SAFETY: By the caller's promise.
        unsafe {
            let sb = (*self.dir).i_sb;
            let parent = InodeRef::of_raw(self.dir);
            let description = Description {
                number,
                mode,
                idmap: self.idmap,
                parent: Some(&parent),
            };
            T::take_inode(bounds::<T>(sb))?;
            let inode = node::new(sb, &description);
            if inode.is_err() {
                T::give_inode(bounds::<T>(sb));
            }
            inode
        }
    }

    /// Makes a regular file. Errors are those of `inode`.
    ///
    /// # Safety
    ///
    /// As for `inode`.
    unsafe fn regular<T: FileSystem>(&self, mode: u16) -> Result<InodeRef> {
        // SAFETY: By the caller's promise.
        unsafe {
            let (number, node) = T::create(bounds::<T>((*self.dir).i_sb))?;
            let inode = self.inode::<T>(number, node::regular_mode(mode))?;
            node::make_regular::<T>(&inode, &Regular::<T>::TABLE, node);
            self.secure(&inode)?;
            Ok(inode)
        }
    }

    /// Lets the security modules label the inode.
    ///
    /// # Safety
    ///
    /// As for `inode`; nobody else may have the inode.
    unsafe fn secure(&self, inode: &InodeRef) -> Result {
        // SAFETY: By the caller's promise; a dentry has a name.
        unsafe {
            let name = addr_of!((*self.dentry).__bindgen_anon_1.d_name);
            node::secure(inode, self.dir, name)
        }
    }

    /// Gives the inode its name.
    ///
    /// # Safety
    ///
    /// As for `inode`.
    unsafe fn instantiate(&self, inode: InodeRef) {
        // SAFETY: By the caller's promise. The dentry takes over the reference.
        unsafe {
            bindings::d_make_persistent(self.dentry, inode.into_raw());
            helpers::qemufile_inode_changed(self.dir);
        }
    }
}

/// The operations of directories.
pub(super) struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const TABLE: bindings::inode_operations = bindings::inode_operations {
        #[cfg(not(linux_7_2))]
        create: Some(Self::create),
        #[cfg(linux_7_2)]
        create: Some(Self::create_7_2),
        lookup: Some(bindings::simple_lookup),
        link: Some(Self::link),
        unlink: Some(Self::unlink),
        symlink: Some(Self::symlink),
        mkdir: Some(Self::mkdir),
        rmdir: Some(bindings::simple_rmdir),
        rename: Some(Self::rename),
        tmpfile: Some(Self::tmpfile),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Nobody else may have the inode, which is one of the file system `T`.
    unsafe fn make_directory(inode: &InodeRef) {
        let raw = inode.as_ptr();
        // SAFETY: By the caller's promise.
        unsafe {
            (*raw).i_op = &Self::TABLE;
            (*raw).__bindgen_anon_3.i_fop = addr_of!(bindings::simple_dir_operations);
            // For ".".
            bindings::inc_nlink(raw);
        }
    }

    /// # Safety
    ///
    /// Called by the VFS for a directory of this file system.
    unsafe extern "C" fn create(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u16,
    ) -> c_int {
        let new = New { idmap, dir, dentry };
        from_result(|| {
            // SAFETY: By the caller's promise.
            unsafe { new.instantiate(new.regular::<T>(mode)?) };
            Ok(0)
        })
    }

    /// As `create`. Linux 7.2 also says whether the file must be new; it is.
    ///
    /// # Safety
    ///
    /// As for `create`.
    #[cfg(linux_7_2)]
    unsafe extern "C" fn create_7_2(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u16,
        _exclusive: bool,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        unsafe { Self::create(idmap, dir, dentry, mode) }
    }

    /// # Safety
    ///
    /// As for `create`.
    unsafe extern "C" fn tmpfile(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        file: *mut bindings::file,
        mode: u16,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the caller's promise. `d_tmpfile` takes over the reference.
            unsafe {
                let dentry = (*file).__bindgen_anon_1.f_path.dentry;
                let inode = New { idmap, dir, dentry }.regular::<T>(mode)?;
                bindings::d_tmpfile(file, inode.into_raw());
                to_result(bindings::finish_open(file, dentry, None))?;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// As for `create`.
    unsafe extern "C" fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: u16,
    ) -> *mut bindings::dentry {
        let new = New { idmap, dir, dentry };
        // SAFETY: By the caller's promise.
        let made = unsafe { new.inode::<T>(T::number(), DIRECTORY | mode) };
        let made = made.and_then(|inode| {
            // SAFETY: As above; nobody else has the inode.
            unsafe {
                Self::make_directory(&inode);
                new.secure(&inode)?;
                new.instantiate(inode);
                bindings::inc_nlink(dir);
            }
            Ok(())
        });
        match made {
            Ok(()) => core::ptr::null_mut(),
            Err(err) => err.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// As for `create`.
    unsafe extern "C" fn symlink(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        target: *const c_char,
    ) -> c_int {
        let new = New { idmap, dir, dentry };
        from_result(|| {
            // SAFETY: By the caller's promise; nobody else has the inode yet.
            unsafe {
                let inode = new.inode::<T>(T::number(), SYMLINK | 0o777)?;
                node::make_symlink(&inode);
                new.secure(&inode)?;
                let len = CStr::from_char_ptr(target).to_bytes_with_nul().len();
                to_result(bindings::page_symlink(
                    inode.as_ptr(),
                    target,
                    c_int::try_from(len)?,
                ))?;
                new.instantiate(inode);
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// As for `create`.
    unsafe extern "C" fn link(
        old: *mut bindings::dentry,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the caller's promise; the VFS has locked the inode, so its links stay.
            unsafe {
                // The first name of an O_TMPFILE file comes with the inode.
                let counts = (*(*old).d_inode).__bindgen_anon_1.i_nlink > 0;
                if counts {
                    T::take_inode(bounds::<T>((*dir).i_sb))?;
                }
                let linked = to_result(bindings::simple_link(old, dir, dentry));
                if linked.is_err() && counts {
                    T::give_inode(bounds::<T>((*dir).i_sb));
                }
                linked?;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// `inode` must be one of this file system that loses a name, and be locked.
    unsafe fn has_more_names(inode: *mut bindings::inode) -> bool {
        // SAFETY: By the caller's promise.
        unsafe {
            u32::from((*inode).i_mode) & bindings::S_IFMT != bindings::S_IFDIR
                && (*inode).__bindgen_anon_1.i_nlink > 1
        }
    }

    /// # Safety
    ///
    /// As for `create`.
    unsafe extern "C" fn unlink(dir: *mut bindings::inode, dentry: *mut bindings::dentry) -> c_int {
        // SAFETY: By the caller's promise.
        unsafe {
            if Self::has_more_names((*dentry).d_inode) {
                T::give_inode(bounds::<T>((*dir).i_sb));
            }
            bindings::simple_unlink(dir, dentry)
        }
    }

    /// # Safety
    ///
    /// As for `create`.
    unsafe extern "C" fn rename(
        idmap: *mut bindings::mnt_idmap,
        old_dir: *mut bindings::inode,
        old: *mut bindings::dentry,
        new_dir: *mut bindings::inode,
        new: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        // SAFETY: By the caller's promise.
        unsafe {
            let replaced = (*new).d_inode;
            let gives = flags & bindings::RENAME_EXCHANGE == 0
                && !replaced.is_null()
                && Self::has_more_names(replaced);
            let ret = bindings::simple_rename(idmap, old_dir, old, new_dir, new, flags);
            if ret == 0 && gives {
                T::give_inode(bounds::<T>((*old_dir).i_sb));
            }
            ret
        }
    }
}
