// SPDX-License-Identifier: GPL-2.0

//! Wakes the pollers of one handle, and signals its `O_ASYNC` owner, when the handle's own
//! position, rate or latched error changes.
//!
//! The stream wakes pollers for changes of the stream. [`Notifier::register`] registers a poller
//! with both.

use crate::{
    stream::Stream,
    sys::{
        alloc::GFP_STREAM,
        fasync::{
            AsyncFile,
            AsyncQueue,
            Band, //
        },
        poll::{
            new_follower,
            Events,
            Follower,
            PollTable, //
        },
    },
};
use kernel::{
    fs::File,
    impl_has_hr_timer,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    time::{
        hrtimer::{
            ArcHrTimerHandle,
            HrTimer,
            HrTimerCallback,
            HrTimerCallbackContext,
            HrTimerPointer,
            HrTimerRestart,
            RelativeMode, //
        },
        Delta,
        Monotonic, //
    },
};

/// A handle's own pollers and `O_ASYNC` owner.
///
/// A separate allocation, as a timer refers to it. It holds no reference to the stream.
#[pin_data]
pub(super) struct Notifier {
    #[pin]
    polled: Follower,
    #[pin]
    async_file: AsyncFile,
    /// The `O_ASYNC` owner of this file, if it is writable.
    wants_room: AsyncQueue,
    #[pin]
    timer: HrTimer<Self>,
}

impl Notifier {
    /// Makes the notifier of a handle on `stream`. `ENOMEM`.
    pub(super) fn new(stream: &Stream) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                polled <- new_follower!(stream.polled().clone(), "qemufile::handle_polled"),
                async_file <- AsyncFile::new(),
                wants_room: AsyncQueue::new(),
                timer <- HrTimer::new(),
            }),
            GFP_STREAM,
        )
    }

    /// Registers a poller of `file`, the handle's, with the handle and its stream.
    pub(super) fn register(&self, file: &File, table: &PollTable<'_>) {
        self.polled.register(file, table);
    }

    /// Begins or ends `O_ASYNC` of `file`, the handle's. `lists` are those of its stream.
    pub(super) fn set_async(
        &self,
        lists: [Option<&AsyncQueue>; 2],
        file: &File,
        fd: i32,
        on: i32,
    ) -> Result {
        let [data, room] = lists;
        let own = room.map(|_| &self.wants_room);
        self.async_file.set([data, room, own], fd, file, on)
    }

    /// Wakes those who poll the handle.
    pub(super) fn wake(&self, events: Events) {
        self.polled.wake(events);
    }

    /// Tells pollers and owner that the handle may write.
    pub(super) fn notify_writer(&self) {
        self.wants_room.signal(Band::Out);
        self.wake(Events::OUT);
    }
}

/// A running timer, after which a [`Notifier`] tells that the handle may write. Dropping it cancels
/// the timer.
pub(super) struct Alarm {
    _timer: ArcHrTimerHandle<Notifier>,
}

impl Alarm {
    /// Starts the notifier's timer. No other alarm may be running.
    pub(super) fn start(notifier: &Arc<Notifier>, time: Delta) -> Self {
        Self {
            _timer: notifier.clone().start(time),
        }
    }
}

impl HrTimerCallback for Notifier {
    type Pointer<'a> = Arc<Self>;

    fn run(this: ArcBorrow<'_, Self>, _ctx: HrTimerCallbackContext<'_, Self>) -> HrTimerRestart {
        this.notify_writer();
        HrTimerRestart::NoRestart
    }
}

impl_has_hr_timer! {
    impl HasHrTimer<Self> for Notifier {
        mode: RelativeMode<Monotonic>, field: self.timer
    }
}
