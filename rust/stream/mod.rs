// SPDX-License-Identifier: GPL-2.0

//! A migration stream: the bytes, who has it open for what, and who waits for whom.
//!
//! The lock order is in [`locks`], which also has all entrances to [`Inner`].

mod append;
mod beside;
mod compare;
mod drain;
mod locks;
mod map;
mod members;
mod no_share;
mod properties;
mod quota;
mod ranges;
mod read;
mod resize;
mod share;
mod stall;
mod wait;
mod write;

use self::{
    drain::Draining,
    locks::Locks,
    quota::Quota,
    wait::Waiters, //
};
pub(crate) use self::{
    drain::Own,
    members::{
        Access,
        Member, //
    },
    properties::{
        Properties,
        Property, //
    },
    quota::Account,
    read::Patience,
    write::{
        Allowance,
        Writer, //
    },
};

use crate::{
    sized_buffer::SizedBuffer,
    sys::{
        alloc::GFP_STREAM,
        fasync::{
            AsyncQueue,
            Band, //
        },
        inode::InodeRef,
        page::PAGE_SIZE,
        poll::{
            new_poll_queue,
            Events,
            PollQueue, //
        },
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};

/// The size of a page in the type of positions.
const PAGE_BYTES: u64 = PAGE_SIZE as u64;

/// Bytes that are copied before the lock is dropped for others.
const SLICE: usize = 1 << 20;

/// The number of the next stream. The number 1 is that of the root directory.
static NEXT_NUMBER: Atomic<i64> = Atomic::new(2);

/// Figures of a stream, of one moment.
pub(crate) struct Info {
    pub(crate) len: u64,
    pub(crate) allocated: u64,
    /// As `allocated`; for a file, with the pages that mappings of holes show.
    pub(crate) held: u64,
    pub(crate) chunks: u64,
    pub(crate) drained: u64,
    pub(crate) limit: Option<u64>,
    pub(crate) readers: usize,
    pub(crate) writers: usize,
    pub(crate) properties: Properties,
}

/// Where a stream is made, which says who pays for it and what its end is.
#[derive(Clone)]
pub(crate) enum Home {
    /// Nowhere: by an open of the device. At its end a reader waits while another handle may write.
    Device,
    /// On a mount, whose account pays. It is a file: its end is the end for every reader, unless
    /// it has [`Property::Follow`].
    Mount(Arc<Account>),
}

impl Home {
    fn account(&self) -> Option<&Arc<Account>> {
        match self {
            Home::Device => None,
            Home::Mount(account) => Some(account),
        }
    }
}

/// One stream, shared by its handles and freed with the last of them.
#[pin_data]
pub(crate) struct Stream {
    /// The inode number of its regular file.
    number: u64,
    home: Home,
    /// Whether its memory counts for a user or a mount.
    counted: bool,
    /// Whether it has [`Property::AppendOnly`]. Changes while all positions are locked for writing.
    append_only: Atomic<bool>,
    #[pin]
    locks: Locks,
    /// Readers at the end, which wait for bytes or for the last writer to close.
    #[pin]
    more: Waiters,
    /// Writers that wait for readers of a drained stream to make room, or for their rate.
    #[pin]
    room: Waiters,
    /// The queues of all handles, each with the tasks that poll the handle.
    polled: Arc<PollQueue>,
    /// Files with `O_ASYNC` that get a signal for bytes to read.
    wants_data: AsyncQueue,
    /// Files with `O_ASYNC` that get a signal for room to write.
    wants_room: AsyncQueue,
}

/// The part of a stream that [`locks`] protects.
struct Inner {
    buffer: SizedBuffer,
    /// The account that the buffer's memory is charged to.
    quota: Quota,
    /// Whether it is a file of a mount.
    is_file: bool,
    readers: usize,
    writers: usize,
    /// The writers that do not read.
    feeders: usize,
    /// Whether any handle was ever open for writing.
    had_writer: bool,
    properties: Properties,
    /// The most bytes that the stream may hold: QEMUFILE_IOC_SET_LIMIT. The limit of a handle is a
    /// rate.
    max_len: Option<u64>,
    /// What is drained.
    draining: Draining,
    /// Handles of any kind.
    members: usize,
    /// Shared mappings that may be written to, or made writable.
    mappings: usize,
    /// The regular file, from when it is first made until the last handle is gone. It has a
    /// reference to the stream, so whatever else keeps the stream must not keep this.
    inode: Option<InodeRef>,
}

impl Inner {
    /// Whether the stream has `property`.
    fn is(&self, property: Property) -> bool {
        self.properties.contains(property)
    }

    /// Whether a reader at the end of a file waits for a writer at all.
    fn follows(&self) -> bool {
        self.is(Property::Follow) || self.is(Property::Drain)
    }

    /// How many handles a reader at the end waits for, if it is none of them.
    fn awaited(&self) -> usize {
        match (self.is_file, self.follows()) {
            (false, _) => self.writers,
            (true, true) => self.feeders,
            (true, false) => 0,
        }
    }

    /// Whether a reader with this access waits for bytes at the end.
    fn others_may_write(&self, access: Access) -> bool {
        let own = access.write && !self.is_file;
        !self.is(Property::Sealed) && self.awaited() > usize::from(own)
    }

    /// Whether there were writers to wait for, and no byte can come any more.
    fn is_over(&self) -> bool {
        let may_wait = !self.is_file || self.follows();
        may_wait && self.had_writer && (self.awaited() == 0 || self.is(Property::Sealed))
    }

    /// The position that no write may pass, for the limit's sake.
    fn ceiling(&self) -> Option<u64> {
        let limit = self.max_len?;
        let first = self.draining.position();
        Some(first.saturating_add(limit).max(self.buffer.len()))
    }

    /// Updates the inode, and removes replaced pages from mappings. To be called after each change
    /// of the bytes or the length, before the lock is dropped; by a writer as [`Writer::publish`].
    fn publish(&mut self) {
        let stale = self.buffer.take_stale();
        self.note_change();
        self.publish_len();
        self.unmap(stale, false);
    }

    /// Updates the inode after bytes were written in place.
    fn note_change(&self) {
        if let Some(inode) = &self.inode {
            inode.changed();
        }
    }

    /// Tells the VFS how long the regular file is.
    fn publish_len(&self) {
        self.tell_len(self.buffer.len());
    }

    /// Tells the VFS that the regular file has this length. Calls must not overlap.
    fn tell_len(&self, len: u64) {
        if let Some(inode) = &self.inode {
            // The largest length of a buffer is the largest offset of a file.
            inode.set_size(i64::try_from(len).unwrap_or(i64::MAX));
        }
    }
}

impl Stream {
    /// Makes an empty stream that nobody has open.
    ///
    /// `ENOMEM`.
    pub(crate) fn new(home: Home, properties: Properties) -> Result<Arc<Self>> {
        Self::with(home, SizedBuffer::new(), Draining::new(), None, properties)
    }

    /// A number that no stream has, and that none will have.
    pub(crate) fn next_number() -> u64 {
        NEXT_NUMBER.fetch_add(1, Relaxed) as u64
    }

    fn with(
        home: Home,
        buffer: SizedBuffer,
        draining: Draining,
        limit: Option<u64>,
        properties: Properties,
    ) -> Result<Arc<Self>> {
        let polled = Arc::pin_init(new_poll_queue!("qemufile::polled"), GFP_STREAM)?;
        let is_file = matches!(home, Home::Mount(_));
        let held = match is_file {
            true => buffer.held(),
            false => buffer.allocated(),
        };
        let quota = Quota::new(home.account(), held)?;
        Arc::pin_init(
            pin_init!(Self {
                number: Self::next_number(),
                home,
                counted: quota.counts(),
                append_only: Atomic::new(properties.contains(Property::AppendOnly)),
                locks <- Locks::new(Inner {
                    buffer,
                    quota,
                    is_file,
                    readers: 0,
                    writers: 0,
                    feeders: 0,
                    had_writer: false,
                    properties,
                    max_len: limit,
                    draining,
                    members: 0,
                    mappings: 0,
                    inode: None,
                }),
                more <- Waiters::new(),
                room <- Waiters::new(),
                polled,
                wants_data: AsyncQueue::new(),
                wants_room: AsyncQueue::new(),
            }),
            GFP_STREAM,
        )
    }

    /// The number of the stream, which no other has had since the module was loaded.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The stream's length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.inspect().buffer.len()
    }

    /// Where a handle that is new to the stream begins: at the first byte that is not drained.
    pub(crate) fn start(&self) -> u64 {
        self.inspect().draining.position()
    }

    /// The stream's figures.
    pub(crate) fn info(&self) -> Info {
        let (inner, drained) = self.without_drained();
        Info {
            len: inner.buffer.len(),
            allocated: inner.buffer.allocated(),
            held: inner.held(),
            chunks: inner.buffer.chunks(),
            drained,
            limit: inner.max_len,
            readers: inner.readers,
            writers: inner.writers,
            properties: inner.properties,
        }
    }

    /// Wakes all waiters for bytes, after bytes were added.
    fn notify_readers(&self) {
        self.more.notify();
        self.wants_data.signal(Band::In);
        self.wake(Events::IN);
    }

    /// Wakes all waiters for room, after room was made.
    fn notify_writers(&self) {
        self.room.notify();
        self.wants_room.signal(Band::Out);
        self.wake(Events::OUT);
    }

    /// Wakes all waiters for bytes, after the last writer has closed.
    fn notify_end(&self) {
        self.more.notify();
        self.wants_data.signal(Band::In);
        self.wake(Events::IN | Events::HUP | Events::RDHUP);
    }

    /// Wakes all waiters after a change other than to the data.
    fn notify_all(&self) {
        self.more.notify();
        self.room.notify();
        self.wants_data.signal(Band::In);
        self.wants_room.signal(Band::Out);
        self.wake(Events::IN | Events::OUT | Events::HUP | Events::RDHUP);
    }

    /// The lists for a file with this access and `O_ASYNC`.
    pub(crate) fn async_queues(&self, access: Access) -> [Option<&AsyncQueue>; 2] {
        [
            access.read.then_some(&self.wants_data),
            access.write.then_some(&self.wants_room),
        ]
    }

    /// Wakes the tasks that poll any handle of the stream.
    fn wake(&self, events: Events) {
        self.polled.wake(events);
    }

    /// The queue that [`Stream::wake`] wakes.
    pub(crate) fn polled(&self) -> &Arc<PollQueue> {
        &self.polled
    }

    /// The events that a handle with this access, at this position, can poll now.
    ///
    /// With `append` it writes at the end, whatever its position.
    pub(crate) fn ready(&self, access: Access, pos: u64, append: bool) -> Events {
        let inner = self.inspect();
        let at_end = pos >= inner.buffer.len();
        let over = inner.is_over();
        let reader = Events::IN.when(!at_end || !inner.others_may_write(access))
            | Events::RDHUP.when(over)
            | Events::HUP.when(over && at_end);
        let target = if append { inner.buffer.len() } else { pos };
        // A write that can only fail does not wait. So it counts as ready.
        let waits = inner.can_drain() && inner.ceiling().is_some_and(|ceiling| target >= ceiling);
        reader.when(access.read) | Events::OUT.when(access.write && !waits)
    }
}
