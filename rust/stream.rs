// SPDX-License-Identifier: GPL-2.0

//! A migration stream: the bytes, who has it open for what, and who waits for whom.
//!
//! # Lock order
//!
//! 1. `file->f_pos_lock`, which the VFS holds over a `read`, `write` or `lseek` of a file.
//! 2. [`Stream::writing`]: one writer at a time, from the first byte of a call to the last. It is
//!    what `inode->i_rwsem` is for a regular file. User memory may be faulted in under it.
//! 3. `mm->mmap_lock`, which a page fault holds, also one on a mapping of the stream itself.
//! 4. [`Stream::inner`]: the bytes and the counts. Nothing faults under it: user memory is copied
//!    with faults disabled, and brought in after the lock is dropped.
//! 5. The locks of the wait queues.

use crate::{
    sized_buffer::{
        SizedBuffer,
        Sink, //
    },
    sys::{
        iov::{
            DestIter,
            SourceIter, //
        },
        poll::{
            new_poll_queue,
            Events,
            PollQueue, //
        },
        sched::fatal_signal_pending,
    },
};
use kernel::{
    new_condvar,
    new_mutex,
    prelude::*,
    sync::{
        lock::mutex::MutexBackend,
        lock::Guard,
        Arc,
        CondVar,
        Mutex, //
    },
};

/// How many bytes are copied before the lock is offered to others.
const SLICE: usize = 1 << 20;

/// What a handle has the stream open for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// One stream, shared by its handles and freed with the last of them.
#[pin_data]
pub(crate) struct Stream {
    #[pin]
    writing: Mutex<()>,
    #[pin]
    inner: Mutex<Inner>,
    /// Readers that have read all and wait for more, or for the last writer to go.
    #[pin]
    more: CondVar,
    /// Who polls one of the handles.
    #[pin]
    polled: PollQueue,
}

struct Inner {
    buffer: SizedBuffer,
    /// Handles that are open for writing.
    writers: usize,
    /// Whether there ever was one.
    had_writer: bool,
}

impl Inner {
    /// Whether bytes may still come from a handle other than one with this access.
    fn others_may_write(&self, access: Access) -> bool {
        self.writers > usize::from(access.write)
    }
}

/// What an operation has done, and what kept it from doing more.
pub(crate) struct Progress {
    /// Bytes moved.
    pub(crate) bytes: usize,
    /// `Ok` if that was all there was to do.
    pub(crate) end: Result,
}

impl Stream {
    /// Makes an empty stream that nobody has open.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                writing <- new_mutex!((), "qemufile::writing"),
                inner <- new_mutex!(
                    Inner {
                        buffer: SizedBuffer::new(),
                        writers: 0,
                        had_writer: false,
                    },
                    "qemufile::inner"
                ),
                more <- new_condvar!("qemufile::more"),
                polled <- new_poll_queue!("qemufile::polled"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Counts a new handle.
    pub(crate) fn attach(&self, access: Access) {
        let mut inner = self.inner.lock();
        if access.write {
            inner.writers += 1;
            inner.had_writer = true;
        }
    }

    /// Takes back [`Stream::attach`]. Whoever waits for the last writer is woken.
    pub(crate) fn detach(&self, access: Access) {
        if !access.write {
            return;
        }
        self.inner.lock().writers -= 1;
        self.more.notify_all();
        self.wake(Events::IN | Events::HUP | Events::RDHUP);
    }

    /// The stream's length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.inner.lock().buffer.len()
    }

    /// Wakes those who poll any handle of the stream.
    pub(crate) fn wake(&self, events: Events) {
        self.polled.wake(events);
    }

    /// The queue that [`Stream::wake`] wakes.
    pub(crate) fn polled(&self) -> &PollQueue {
        &self.polled
    }

    /// What a handle with this access, at this position, can do without waiting.
    pub(crate) fn ready(&self, access: Access, pos: u64) -> Events {
        let inner = self.inner.lock();
        let at_end = pos >= inner.buffer.len();
        let over = inner.writers == 0 && inner.had_writer;
        let reader = Events::IN.when(!at_end || !inner.others_may_write(access))
            | Events::RDHUP.when(over)
            | Events::HUP.when(over && at_end);
        // What keeps a write from being done is reported, not waited for.
        reader.when(access.read) | Events::OUT.when(access.write)
    }

    /// The first position from `pos` on that holds data: `SEEK_DATA`.
    ///
    /// `ENXIO` if there is none.
    pub(crate) fn next_data(&self, pos: u64) -> Result<u64> {
        self.inner.lock().buffer.next_data(pos).ok_or(ENXIO)
    }

    /// The first position from `pos` on that is in a hole, the end counting as one: `SEEK_HOLE`.
    ///
    /// `ENXIO` if `pos` is at the end or past it.
    pub(crate) fn next_hole(&self, pos: u64) -> Result<u64> {
        self.inner.lock().buffer.next_hole(pos).ok_or(ENXIO)
    }

    /// Copies bytes from `pos` on to `dst` until it is full or the stream ends.
    ///
    /// Waits for the first byte, unless `nonblocking`, while a handle other than the caller's may
    /// still write: `EAGAIN` then; `ERESTARTSYS` when a signal comes; `EFAULT` if no byte could be
    /// copied.
    pub(crate) fn read(
        &self,
        access: Access,
        pos: u64,
        dst: &mut DestIter<'_, '_>,
        nonblocking: bool,
    ) -> Progress {
        let mut done = 0;
        let end = loop {
            if dst.len() == 0 {
                break Ok(());
            }
            // The end of a `usize` is never reached: `done` counts bytes of user memory.
            let here = pos.saturating_add(done as u64);
            let mut inner = self.inner.lock();
            if here >= inner.buffer.len() {
                if done > 0 || !inner.others_may_write(access) {
                    break Ok(());
                }
                if nonblocking {
                    break Err(EAGAIN);
                }
                if self.more.wait_interruptible(&mut inner) {
                    break Err(ERESTARTSYS);
                }
                continue;
            }
            let copied = inner.buffer.read_to(here, dst.limit(SLICE));
            let stuck = dst.remaining() > 0 && here + copied as u64 != inner.buffer.len();
            drop(inner);
            done += copied;
            if stuck && dst.fault_in(SLICE) == 0 {
                break Err(EFAULT);
            }
            if fatal_signal_pending() {
                break Err(EINTR);
            }
        };
        Progress { bytes: done, end }
    }

    /// Waits until no other writer is in the middle of a call.
    pub(crate) fn lock_for_writing(&self) -> Writer<'_> {
        Writer {
            stream: self,
            _writing: self.writing.lock(),
        }
    }

    /// As [`Stream::lock_for_writing`], or `EAGAIN` if that would wait.
    pub(crate) fn try_lock_for_writing(&self) -> Result<Writer<'_>> {
        Ok(Writer {
            stream: self,
            _writing: self.writing.try_lock().ok_or(EAGAIN)?,
        })
    }
}

/// The right to change the stream's bytes and length, which one task has at a time.
pub(crate) struct Writer<'a> {
    stream: &'a Stream,
    _writing: Guard<'a, (), MutexBackend>,
}

impl Writer<'_> {
    /// The stream's length in bytes, which stays as it is until this writer changes it.
    pub(crate) fn len(&self) -> u64 {
        self.stream.len()
    }

    /// Copies up to `limit` bytes from `src` to the stream, from `pos` on.
    ///
    /// `EFAULT` if the source cannot be read, `ENOMEM`, `EFBIG`; what went before counts.
    pub(crate) fn write(&self, pos: u64, src: &mut SourceIter<'_, '_>, limit: usize) -> Progress {
        let mut done = 0;
        let end = loop {
            let slice = SLICE.min(limit - done);
            if slice == 0 {
                break Ok(());
            }
            let here = pos.saturating_add(done as u64);
            let (copied, end) = {
                let mut inner = self.stream.inner.lock();
                inner.buffer.write_from(here, src.limit(slice))
            };
            done += copied;
            if copied > 0 {
                self.stream.more.notify_all();
                self.stream.wake(Events::IN);
            }
            match end {
                Ok(()) => (),
                // Not in memory, or not there at all.
                Err(err) if err == EFAULT => {
                    if src.fault_in(slice - copied) == 0 {
                        break Err(EFAULT);
                    }
                }
                Err(err) => break Err(err),
            }
            if fatal_signal_pending() {
                break Err(EINTR);
            }
        };
        Progress { bytes: done, end }
    }

    /// Copies `len` bytes from `src` to the stream, from `pos` on, or leaves it as it was.
    ///
    /// Nobody sees a part of it. Errors as for [`Writer::write`].
    pub(crate) fn write_atomic(
        &self,
        pos: u64,
        src: &mut SourceIter<'_, '_>,
        len: usize,
    ) -> Result<usize> {
        loop {
            let err = {
                let mut inner = self.stream.inner.lock();
                let before = inner.buffer.clone();
                match inner.buffer.write_from(pos, src.limit(len)) {
                    (_, Ok(())) => break,
                    (_, Err(err)) => {
                        inner.buffer = before;
                        err
                    }
                }
            };
            src.rewind();
            if err != EFAULT {
                return Err(err);
            }
            if src.fault_in(len) < len {
                return Err(EFAULT);
            }
            if fatal_signal_pending() {
                return Err(EINTR);
            }
        }
        self.stream.more.notify_all();
        self.stream.wake(Events::IN);
        Ok(len)
    }
}
