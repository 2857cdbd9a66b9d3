// SPDX-License-Identifier: GPL-2.0

//! A file system that is never mounted anywhere: regular files that exist as open files only.
//!
//! memfd, secretmem and dma-buf have one each. Theirs are built in and stay for good; a module's
//! has to go away. So nothing is mounted while nobody has a file or a [`Pinned`]
//! (`simple_pin_fs()`, as `drivers/gpu/drm/drm_drv.c` does it), and until the last inode is gone
//! the superblock's reference to the file system's owner keeps the module.
//!
//! A file keeps the mount that it was opened on, also a file opened with `O_PATH`, for which no
//! operation is ever called. So `simple_pin_fs()` may make a second mount while files are open on
//! the first. All mounts are of one superblock (`get_tree_single()`), so a number is that of one
//! inode, whatever the mount.
//!
//! C headers: [`include/linux/fs_context.h`](srctree/include/linux/fs_context.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    bindings as helpers,
    file_operations::{
        FileOperations,
        Vtable, //
    },
    inode::InodeRef,
    mmap::{
        fault_result,
        make_mixed,
        Fault, //
    },
};
use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    ffi::c_int,
    fs::File,
    mm::virt::VmaNew,
    module::this_module,
    prelude::*,
    sync::aref::ARef,
    types::{
        ForeignOwnable,
        Opaque, //
    },
};

/// The part of a file's mode that says what it was opened for.
const ACCESS: bindings::fmode_t = helpers::QEMUFILE_FMODE_READ | helpers::QEMUFILE_FMODE_WRITE;

/// What a file of a [`PseudoFs`] is, apart from being open.
pub(crate) trait InodeOperations: Sized + 'static {
    /// What an inode owns.
    type Data: ForeignOwnable + Send + Sync;

    /// The operations of its open files.
    type File: FileOperations;

    /// The file's length and the memory that it takes, both in bytes.
    fn size(data: <Self::Data as ForeignOwnable>::Borrowed<'_>) -> (i64, u64);

    /// Gives the file another length, in bytes, for `truncate(2)`.
    fn set_size(data: <Self::Data as ForeignOwnable>::Borrowed<'_>, size: i64) -> Result;

    /// Maps a page that was touched. `ENOMEM` if there is no memory; any other error is a
    /// `SIGBUS`.
    fn fault(data: <Self::Data as ForeignOwnable>::Borrowed<'_>, fault: &Fault<'_>) -> Result;
}

/// The file system. It has to be a `static`.
pub(crate) struct PseudoFs<T: InodeOperations> {
    fs_type: Opaque<bindings::file_system_type>,
    mount: UnsafeCell<*mut bindings::vfsmount>,
    pins: UnsafeCell<c_int>,
    _inode: PhantomData<fn() -> T>,
}

// SAFETY: `mount` and `pins` are used by `simple_pin_fs` and `simple_release_fs` only, under a
// lock of theirs, and read while pinned, when they do not change. The VFS locks what it changes in
// `fs_type`.
unsafe impl<T: InodeOperations> Sync for PseudoFs<T> {}

/// Keeps a [`PseudoFs`] mounted, for what is no file of it.
///
/// It must not be an inode that does so: whoever holds the last reference to an inode may hold none
/// to the mount, and the mount cannot go while the inode is going.
pub(crate) struct Pinned<T: InodeOperations>(&'static PseudoFs<T>);

impl<T: InodeOperations> Pinned<T> {
    /// The mount.
    pub(crate) fn mount(&self) -> Mount<'_, T> {
        // SAFETY: The mount is there, and does not change, while there is a pin.
        let mount = unsafe { *self.0.mount.get() };
        // INVARIANT: The pin keeps it, and is borrowed.
        Mount {
            mount,
            _lifetime: PhantomData,
            _inode: PhantomData,
        }
    }
}

impl<T: InodeOperations> Drop for Pinned<T> {
    fn drop(&mut self) {
        // SAFETY: Undoes one `simple_pin_fs`.
        unsafe { bindings::simple_release_fs(self.0.mount.get(), self.0.pins.get()) };
    }
}

/// A mount of a [`PseudoFs`]: where new files are made.
///
/// # Invariants
///
/// `mount` is valid for `'a`, and of a file system with the operations `T`.
pub(crate) struct Mount<'a, T: InodeOperations> {
    mount: *mut bindings::vfsmount,
    _lifetime: PhantomData<&'a bindings::vfsmount>,
    _inode: PhantomData<fn() -> T>,
}

impl<T: InodeOperations> Mount<'_, T> {
    /// Opens a file with the given inode number.
    ///
    /// If there is no such inode, one is made that owns `data`; otherwise `data` must stand for
    /// what it has. `flags` are those of `open(2)`. `state` makes the open file's own, told the
    /// inode that it will be on.
    ///
    /// `ENOMEM`, `ENFILE`, and what `state` returns.
    pub(crate) fn open(
        &self,
        ino: u64,
        data: T::Data,
        name: &'static CStr,
        flags: u32,
        state: impl FnOnce(InodeRef) -> Result<<T::File as FileOperations>::Ptr>,
    ) -> Result<ARef<File>> {
        let inode = self.inode(ino, data)?;
        let state = state(inode.clone())?;
        // SAFETY: The inode and the mount are valid, and of one superblock. If this succeeds, the
        // file owns the reference to the inode that is forgotten below.
        let file = from_err_ptr(unsafe {
            bindings::alloc_file_pseudo(
                inode.as_ptr(),
                self.mount,
                kernel::str::as_char_ptr_in_const_context(name),
                c_int::try_from(flags)?,
                Vtable::<T::File>::build(),
            )
        })?;
        core::mem::forget(inode);
        // SAFETY: Nobody else has the file yet. The module stays during this call, as a file of it
        // or a registration is being used, so it can be referenced once more: for
        // `file->f_op`, whose reference `__fput` drops.
        unsafe {
            bindings::__module_get(
                this_module::<<T::File as FileOperations>::OwnerModule>().as_ptr(),
            );
            Vtable::<T::File>::init_file(file, state);
            grant(file);
            Ok(ARef::from_raw(NonNull::new_unchecked(file.cast())))
        }
    }

    fn inode(&self, ino: u64, data: T::Data) -> Result<InodeRef> {
        // SAFETY: The mount is valid.
        let inode = unsafe { bindings::iget_locked((*self.mount).mnt_sb, ino) };
        // SAFETY: `iget_locked` returned a reference, which is ours.
        let inode = unsafe { InodeRef::from_raw(NonNull::new(inode).ok_or(ENOMEM)?) };
        let raw = inode.as_ptr();
        // SAFETY: A new inode is locked and ours to fill in until it is unlocked.
        unsafe {
            if helpers::qemufile_inode_is_new(raw) {
                helpers::qemufile_init_regular_inode(raw, 0o666);
                (*raw).i_op = &PseudoFs::<T>::INODE;
                (*raw).__bindgen_anon_3.i_fop = Vtable::<T::File>::build();
                (*raw).i_private = data.into_foreign();
                bindings::unlock_new_inode(raw);
            }
        }
        Ok(inode)
    }
}

/// Notes in a file's dentry what an open through `/proc/PID/fd` may ask for at the most.
///
/// # Safety
///
/// `file` must be a file of a [`PseudoFs`] with a dentry of its own, and nobody else's.
unsafe fn grant(file: *mut bindings::file) {
    // SAFETY: By the caller's promise.
    unsafe {
        let access = ((*file).f_mode & ACCESS) as usize;
        let dentry = (*file).__bindgen_anon_1.f_path.dentry;
        (*dentry).d_fsdata = core::ptr::without_provenance_mut(access);
    }
}

impl<T: InodeOperations> PseudoFs<T> {
    /// A file system by the name that `/proc/PID/mountinfo` never shows.
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self {
            fs_type: Opaque::new(bindings::file_system_type {
                name: kernel::str::as_char_ptr_in_const_context(name),
                owner: this_module::<<T::File as FileOperations>::OwnerModule>().as_ptr(),
                init_fs_context: Some(Self::init_fs_context),
                kill_sb: Some(bindings::kill_anon_super),
                ..pin_init::zeroed()
            }),
            mount: UnsafeCell::new(core::ptr::null_mut()),
            pins: UnsafeCell::new(0),
            _inode: PhantomData,
        }
    }

    /// Mounts the file system unless it is mounted, and keeps it so. `ENOMEM`.
    pub(crate) fn pin(&'static self) -> Result<Pinned<T>> {
        // SAFETY: All three are static and belong together.
        to_result(unsafe {
            bindings::simple_pin_fs(self.fs_type.get(), self.mount.get(), self.pins.get())
        })?;
        Ok(Pinned(self))
    }

    /// The mount that `file` was opened on: `ENXIO` if the file is not one of this file system.
    pub(crate) fn mount_of<'a>(&'static self, file: &'a File) -> Result<Mount<'a, T>> {
        self.inode_of(file)?;
        // SAFETY: A file has a path.
        let mount = unsafe { (*file.as_ptr()).__bindgen_anon_1.f_path.mnt };
        // INVARIANT: A file keeps its mount, which is of the superblock that its inode is of.
        Ok(Mount {
            mount,
            _lifetime: PhantomData,
            _inode: PhantomData,
        })
    }

    /// What the inode of `file`, which is being opened through `/proc/PID/fd/N`, owns.
    ///
    /// `EACCES` if that would give more access than the file `N` has, `ENXIO` if the file is not
    /// one of this file system, `ENOMEM`.
    pub(crate) fn reopen<'a>(
        &'static self,
        file: &'a File,
    ) -> Result<<T::Data as ForeignOwnable>::Borrowed<'a>> {
        let inode = self.inode_of(file)?;
        // SAFETY: A file that is being opened has a dentry, and is nobody else's. The magic link
        // leads to the dentry of file `N` itself, as each of our files has one of its own; so has
        // this one, before anyone can follow a link to it.
        unsafe {
            let raw = file.as_ptr();
            let granted = (*(*raw).__bindgen_anon_1.f_path.dentry).d_fsdata.addr();
            let wanted = ((*raw).f_mode & ACCESS) as usize;
            if wanted & !granted != 0 {
                return Err(EACCES);
            }
            to_result(helpers::qemufile_own_dentry(raw))?;
            grant(raw);
            Ok(T::Data::borrow((*inode).i_private))
        }
    }

    /// Makes `vma` a mapping of the pages of `file`.
    ///
    /// `ENXIO` if the file is not one of this file system.
    pub(crate) fn map(&'static self, vma: &VmaNew, file: &File) -> Result {
        self.inode_of(file)?;
        // SAFETY: The file is one of ours.
        unsafe { make_mixed(vma, file, &Self::MAPPING) };
        Ok(())
    }

    /// The inode of `file` if it is one of this file system: `ENXIO` otherwise.
    fn inode_of(&'static self, file: &File) -> Result<*mut bindings::inode> {
        // SAFETY: A file has an inode, and that has a superblock. The root directory, which has no
        // data, cannot be opened, but costs nothing to leave out.
        unsafe {
            let inode = (*file.as_ptr()).f_inode;
            if (*(*inode).i_sb).s_type == self.fs_type.get() && !(*inode).i_private.is_null() {
                Ok(inode)
            } else {
                Err(ENXIO)
            }
        }
    }

    /// # Safety
    ///
    /// `fault` must be valid and in a mapping of a file of this file system.
    unsafe extern "C" fn fault(fault: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: By the caller's promise.
        let (data, fault) = unsafe {
            let inode = helpers::qemufile_fault_inode(fault);
            (T::Data::borrow((*inode).i_private), Fault::from_raw(fault))
        };
        fault_result(T::fault(data, &fault))
    }

    /// # Safety
    ///
    /// `fc` must be a new context for a superblock of this file system.
    unsafe extern "C" fn init_fs_context(fc: *mut bindings::fs_context) -> c_int {
        // SAFETY: By the caller's promise; the table is static.
        unsafe { helpers::qemufile_init_fs_context(fc, &Self::SUPER) };
        0
    }

    /// # Safety
    ///
    /// `inode` must be an inode of this file system that nobody refers to any more.
    unsafe extern "C" fn evict_inode(inode: *mut bindings::inode) {
        // SAFETY: By the caller's promise. Our inodes own `i_private`; the root directory has none.
        unsafe {
            bindings::truncate_inode_pages_final(&mut (*inode).i_data);
            bindings::clear_inode(inode);
            if !(*inode).i_private.is_null() {
                drop(T::Data::from_foreign((*inode).i_private));
            }
        }
    }

    /// # Safety
    ///
    /// `path` is of an inode of this file system, `stat` can be written.
    unsafe extern "C" fn getattr(
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
            let (size, allocated) = T::size(T::Data::borrow((*inode).i_private));
            (*stat).size = size;
            (*stat).blocks = allocated.div_ceil(512);
        }
        0
    }

    /// # Safety
    ///
    /// `dentry` is of an inode of this file system, which the caller has locked; `attr` is valid.
    unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By the caller's promise.
            unsafe {
                if (*dentry).d_fsdata.addr() & helpers::QEMUFILE_FMODE_WRITE as usize == 0 {
                    return Err(EACCES);
                }
                to_result(bindings::setattr_prepare(idmap, dentry, attr))?;
                let inode = (*dentry).d_inode;
                if (*attr).ia_valid & bindings::ATTR_SIZE != 0 {
                    T::set_size(T::Data::borrow((*inode).i_private), (*attr).ia_size)?;
                }
                bindings::setattr_copy(idmap, inode, attr);
            }
            Ok(0)
        })
    }

    const SUPER: bindings::super_operations = bindings::super_operations {
        drop_inode: Some(bindings::inode_just_drop),
        evict_inode: Some(Self::evict_inode),
        statfs: Some(bindings::simple_statfs),
        ..pin_init::zeroed()
    };

    const MAPPING: bindings::vm_operations_struct = bindings::vm_operations_struct {
        fault: Some(Self::fault),
        ..pin_init::zeroed()
    };

    const INODE: bindings::inode_operations = bindings::inode_operations {
        getattr: Some(Self::getattr),
        setattr: Some(Self::setattr),
        ..pin_init::zeroed()
    };
}
