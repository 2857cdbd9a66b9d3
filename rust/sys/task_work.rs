// SPDX-License-Identifier: GPL-2.0

//! Work for the current task, to be done when it returns to user space.
//!
//! C header: [`include/linux/task_work.h`](srctree/include/linux/task_work.h)

use super::{
    bindings as helpers,
    compat::this_module, //
};
use core::mem::MaybeUninit;
use kernel::{
    bindings,
    error::to_result,
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        },
    },
};

/// Whether anything was ever queued.
static USED: Atomic<i32> = Atomic::new(0);

/// A call that [`on_return`] makes later.
pub(crate) trait OnReturn: Send + Sized + 'static {
    /// Is called with the file. `memory` may be used for another call.
    fn returned(self, file: &File, memory: Memory<Self>);
}

/// A callback with what it is called with.
#[repr(C)]
struct Work<T> {
    /// The first field, so that a pointer to it is one to the whole.
    head: MaybeUninit<bindings::callback_head>,
    file: ARef<File>,
    call: T,
}

/// Memory for one call.
pub(crate) struct Memory<T>(KBox<MaybeUninit<Work<T>>>);

// SAFETY: There is nothing in it.
unsafe impl<T> Send for Memory<T> {}

impl<T> Memory<T> {
    /// `ENOMEM`: no reclaim is tried.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(KBox::new_uninit(GFP_NOWAIT | __GFP_NOWARN)?))
    }
}

/// Has [`OnReturn::returned`] of `call` called with `file` when the current task returns to user space,
/// or exits.
///
/// `file` must be one of this module's files, so that the reference to the file keeps the module
/// until the call has been made.
///
/// `EINVAL` for a file of another module, `ESRCH` for a kernel thread and for a task that is almost
/// gone.
pub(crate) fn on_return<T: OnReturn>(memory: Memory<T>, file: ARef<File>, call: T) -> Result {
    // SAFETY: The file is valid, and so are its operations.
    let owner = unsafe { (*(*file.as_ptr()).f_op).owner };
    if owner != this_module() {
        return Err(EINVAL);
    }
    let task = kernel::current!().as_ptr();
    // SAFETY: The current task is valid; only it changes this flag of its own.
    if unsafe { (*task).flags } & bindings::PF_KTHREAD != 0 {
        return Err(ESRCH);
    }
    let head = MaybeUninit::uninit();
    let work = KBox::into_raw(KBox::write(memory.0, Work { head, file, call }));
    let head = work.cast::<bindings::callback_head>();
    USED.store(1, Relaxed);
    // SAFETY: `head` is the first field of `work`, which is ours.
    unsafe { bindings::init_task_work(head, Some(run::<T>)) };
    // SAFETY: The task is the current one. It gets the work, unless this fails, and calls `run`
    // once, in its own context, before it is back in user space: `run`'s requirement. The function
    // is there until then: the work has a reference to a file whose operations this module owns,
    // and the kernel drops the module's reference after that of the file (`__fput()`).
    let queued = to_result(unsafe {
        bindings::task_work_add(task, head, bindings::task_work_notify_mode_TWA_RESUME)
    });
    if queued.is_err() {
        // SAFETY: The work was not queued, so it is still ours.
        drop(unsafe { KBox::from_raw(work) });
    }
    queued
}

/// # Safety
///
/// `head` must be that of a `Work<T>` in a [`KBox`], which the caller gives away.
unsafe extern "C" fn run<T: OnReturn>(head: *mut bindings::callback_head) {
    let work = head.cast::<Work<T>>();
    // SAFETY: By the caller's promise. What is read is moved: after this it is memory only.
    let Work { file, call, .. } = unsafe { work.read() };
    // SAFETY: By the caller's promise, and nothing has to be initialised now.
    let memory = unsafe { KBox::from_raw(work.cast::<MaybeUninit<Work<T>>>()) };
    call.returned(&file, Memory(memory));
    // If this is the last reference, the file is released by a work that is queued behind this one
    // (`fput()`). If it is not, somebody else may release it, and the module may be removed, before
    // this function has returned: `Returned` waits for that.
    drop(file);
}

/// Waits, when it is dropped, until all callbacks have returned: to be kept until the module goes.
pub(crate) struct Returned;

impl Drop for Returned {
    fn drop(&mut self) {
        if USED.load(Relaxed) != 0 {
            // SAFETY: May sleep: modules are removed by a system call. The callbacks, all of which
            // have run as far as their last statement since no file of this module is left, do not
            // sleep from there on, so they have returned when every task has slept or been in user
            // space: what this waits for.
            unsafe { helpers::qemufile_synchronize_rcu_tasks() };
        }
    }
}
