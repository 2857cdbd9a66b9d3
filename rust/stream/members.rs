// SPDX-License-Identifier: GPL-2.0

//! Who has a stream open, and for what.

use super::{
    drain::{
        NewReader, //
        Reader,
    },
    Property,
    Stream, //
};
use crate::sys::inode::InodeRef;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// What a handle has the stream open for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Access {
    /// Whether this is no more than `granted`.
    pub(crate) fn is_within(self, granted: Access) -> bool {
        (granted.read || !self.read) && (granted.write || !self.write)
    }

    /// Whether draining follows the handle's position: it only reads.
    fn drains(self) -> bool {
        self.read && !self.write
    }

    /// Whether the handle is one that only writes.
    fn feeds(self) -> bool {
        self.write && !self.read
    }
}

/// A handle's entry in its stream's books, for as long as it lives.
pub(crate) struct Member {
    stream: Arc<Stream>,
    pub(super) access: Access,
    /// The entry of a reader of a drained stream.
    reader: Option<Arc<Reader>>,
}

impl Stream {
    /// Enters a new handle into the books; `inode` is that of its file if that is a regular one.
    ///
    /// A handle must go while the superblock of the inode is there: the last one gives the inode
    /// up, whatever kind of file it is.
    ///
    /// `ENOMEM` if there is no memory for the entry.
    pub(crate) fn attach(
        self: Arc<Self>,
        access: Access,
        inode: Option<InodeRef>,
    ) -> Result<Member> {
        let new = access.drains().then(NewReader::new).transpose()?;
        let mut inner = self.change_members();
        let reader = new.map(|new| inner.enter(new));
        inner.readers += usize::from(access.read);
        inner.writers += usize::from(access.write);
        inner.feeders += usize::from(access.feeds());
        inner.had_writer |= access.write;
        inner.members += 1;
        // All regular files of a stream are of one inode, so a second reference is not needed. It
        // is dropped after the lock, with the arguments.
        if inner.inode.is_none() {
            inner.inode = inode;
            inner.publish_len();
        }
        drop(inner);
        Ok(Member {
            stream: self,
            access,
            reader,
        })
    }
}

impl Member {
    /// The stream.
    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// What the handle has the stream open for.
    pub(crate) fn access(&self) -> Access {
        self.access
    }

    /// What a handle that only reads knows of its entry among the readers.
    pub(super) fn reader(&self) -> Option<&Arc<Reader>> {
        self.reader.as_ref()
    }
}

impl Drop for Member {
    /// Takes back [`Stream::attach`], and wakes whoever waited for this handle.
    fn drop(&mut self) {
        let stream = &self.stream;
        let mut inner = stream.change_members();
        inner.readers -= usize::from(self.access.read);
        inner.writers -= usize::from(self.access.write);
        inner.feeders -= usize::from(self.access.feeds());
        // It was the last that may write, or the last but for one that reads as well.
        let ends = self.access.write && inner.awaited() <= 1;
        let (mut drained, mut makes_room) = (false, false);
        if let Some(reader) = &self.reader {
            inner.leave(reader);
            drained = inner.drain();
            // With the last reader gone, a write that has waited for room fails.
            makes_room = inner.is(Property::Drain) && !inner.can_drain();
        }
        drained |= inner.has_due();
        let spare = stream.remove_unused_spare(&mut inner);
        if inner.writers == 0 {
            inner.remove_ahead();
        }
        inner.members -= 1;
        let inode = match inner.members {
            0 => inner.inode.take(),
            _ => None,
        };
        match drained {
            true => stream.finish_drain(inner),
            false => drop(inner),
        }
        drop(spare);
        // May free the inode, which has a reference to the stream, as this member has.
        drop(inode);
        // Most handles go without anybody's notice. What nobody waited for is no edge.
        if ends {
            stream.notify_end();
        }
        if makes_room {
            stream.notify_writers();
        }
    }
}
