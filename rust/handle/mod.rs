// SPDX-License-Identifier: GPL-2.0

//! An open file's view of a stream: its access, its position, its latched error.
//!
//! `read(2)` and `write(2)` follow POSIX. `qemu-file.c` adds the latched error.

mod allocate;
mod notifier;
mod rate;
mod splice;
mod typed;
mod write;

use self::{
    notifier::Notifier,
    rate::Rate, //
};
pub(crate) use self::{
    rate::{
        RateInfo,
        RateSetting, //
    },
    splice::SpliceWrite,
    typed::Typed,
};
use crate::{
    qemu_file::LastError,
    stream::{
        Access,
        Member,
        Own,
        Patience,
        Stream, //
    },
    sys::{
        file::{
            FileExt,
            KiocbExt,
            Whence, //
        },
        inode::InodeRef,
        iov::DestIter,
        poll::{
            Events,
            PollTable, //
        },
    },
};
use kernel::{
    fs::{
        file::flags::O_APPEND,
        File,
        Kiocb, //
    },
    iov::IovIterDest,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc,
    types::ForeignOwnable, //
};

/// An open file on a stream.
#[pin_data]
pub(crate) struct Handle {
    member: Member,
    error: LastError,
    #[pin]
    rate: Rate,
    notifier: Arc<Notifier>,
}

impl Handle {
    /// Makes a handle on `stream`. `inode` is the inode of a regular file, `None` for the device.
    ///
    /// `ENOMEM` if there is no memory for it.
    pub(crate) fn new(
        stream: Arc<Stream>,
        access: Access,
        inode: Option<InodeRef>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            notifier: Notifier::new(&stream)?,
            rate <- Rate::new(),
            error: LastError::new(),
            member: stream.attach(access, inode)?,
        })
    }

    /// The stream.
    pub(crate) fn stream(&self) -> &Arc<Stream> {
        self.member.stream()
    }

    /// The access of this handle.
    pub(crate) fn access(&self) -> Access {
        self.member.access()
    }

    /// The latched error.
    pub(crate) fn error(&self) -> Result {
        self.error.get()
    }

    /// Latches `err`: the call lost bytes that were meant for the stream.
    pub(crate) fn latch(&self, err: Error) {
        if self.error.set(err) {
            self.notifier.wake(Events::ERR);
        }
    }

    /// Forgets the latched error.
    pub(crate) fn clear_error(&self) {
        self.error.clear();
    }

    /// `read(2)` and its variants. A short count means the end of the stream or a fault.
    pub(crate) fn read<T: ForeignOwnable>(
        &self,
        mut kiocb: Kiocb<'_, T>,
        dst: &mut IovIterDest<'_>,
    ) -> Result<usize> {
        let pos = u64::try_from(kiocb.ki_pos())?;
        let own = Own::of(kiocb.open_file(), pos, kiocb.is_queued());
        let (progress, look) = self.stream().copy_out(
            &self.member,
            pos,
            own,
            &mut DestIter::new(dst),
            match kiocb.is_nowait() {
                true => Patience::Nothing,
                false => kiocb.is_nonblocking().into(),
            },
        );
        if look {
            self.member.confirm_on_return(kiocb.open_file());
        }
        let pos = kiocb.ki_pos_mut();
        *pos = pos.saturating_add(i64::try_from(progress.bytes)?);
        progress.into_result()
    }

    /// `lseek(2)`. `EINVAL` for a position that is negative or not representable, `ENXIO` if
    /// no data or hole follows.
    pub(crate) fn seek(&self, file: &File, offset: i64, whence: Whence) -> Result<i64> {
        let from = u64::try_from(offset).map_err(|_| ENXIO);
        let offset = match whence {
            Whence::Position(_) => offset,
            Whence::Data => self.stream().next_data(from?)?.try_into()?,
            Whence::Hole => self.stream().next_hole(from?)?.try_into()?,
        };
        self.stream().confirm(&self.member, file);
        let pos = file.seek(offset, whence, self.stream().len().try_into()?)?;
        self.stream().note_seek(&self.member, u64::try_from(pos)?);
        // Whether a read or write would block depends on the position.
        self.notifier.wake(Events::IN | Events::OUT);
        Ok(pos)
    }

    /// `poll(2)`.
    pub(crate) fn poll(&self, file: &File, table: &PollTable<'_>) -> Events {
        self.notifier.register(file, table);
        let pos = u64::try_from(file.position()).unwrap_or(u64::MAX);
        self.stream().confirm(&self.member, file);
        let append = file.flags() & O_APPEND != 0;
        let within_rate = !self.access().write || self.rate.allows_or_arm(&self.notifier);
        self.stream()
            .ready(self.access(), pos, append)
            .without(Events::OUT.when(!within_rate))
            | Events::ERR.when(self.error().is_err())
    }

    /// The rate limit and the bytes written under it.
    ///
    /// A latched error counts as an exceeded limit, as in `qemu_file_rate_limit`.
    pub(crate) fn rate(&self) -> RateInfo {
        let mut info = self.rate.get();
        info.exceeded |= self.error().is_err();
        info
    }

    /// Sets the rate limit. Writers of this handle that wait for the old limit check the new one.
    pub(crate) fn set_rate(&self, limit: RateSetting) {
        if !self.access().write {
            return self.rate.set(limit);
        }
        self.stream().change_for_sleepers(|| self.rate.set(limit));
        self.notifier.notify_writer();
    }

    /// Resets the count of bytes written.
    pub(crate) fn reset_rate(&self) {
        self.rate.reset();
    }

    /// `O_ASYNC`
    pub(crate) fn set_async(&self, file: &File, fd: i32, on: i32) -> Result {
        let lists = self.stream().async_queues(self.access());
        self.notifier.set_async(lists, file, fd, on)
    }

    /// `/proc/PID/fdinfo/FD`
    pub(crate) fn show(&self, seq: &SeqFile) {
        let info = self.stream().info();
        seq_print!(seq, "qemufile-stream:\t{}\n", self.stream().number());
        seq_print!(seq, "qemufile-length:\t{}\n", info.len);
        seq_print!(seq, "qemufile-allocated:\t{}\n", info.allocated);
        let private = self.stream().owned().unwrap_or(0).min(info.allocated);
        seq_print!(seq, "qemufile-private:\t{private}\n");
        seq_print!(seq, "qemufile-chunks:\t{}\n", info.chunks);
        seq_print!(seq, "qemufile-drained:\t{}\n", info.drained);
        seq_print!(seq, "qemufile-limit:\t{}\n", info.limit.unwrap_or(0));
        seq_print!(seq, "qemufile-readers:\t{}\n", info.readers);
        seq_print!(seq, "qemufile-writers:\t{}\n", info.writers);
        let errno = self.error().map_or_else(|err| err.to_errno(), |()| 0);
        seq_print!(seq, "qemufile-error:\t{errno}\n");
    }

    /// `fsync(2)`: nothing to flush. Reports the latched error once.
    pub(crate) fn sync(&self) -> Result {
        self.error.tell()
    }

    /// `close(2)` of one of the file's descriptors.
    pub(crate) fn flush(&self) -> Result {
        self.error.get()
    }
}
