// SPDX-License-Identifier: GPL-2.0

//! How much a handle may write.
//!
//! A limit is either QEMU's, a number of bytes that the writer itself asks about and starts anew,
//! or is kept by the kernel: a token bucket that fills at so many bytes per second, and holds a
//! tenth of a second of them.
//!
//! The lock in here is taken under all others but those of wait queues; whoever waits for tokens
//! looks for them under the stream's lock, and whoever changes the limit does so under it.

use super::notifier::{
    Alarm,
    Notifier, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
};

/// The part of a second whose bytes a bucket holds: QEMU's `BUFFER_DELAY` of 100 ms.
const BURSTS_PER_SECOND: u64 = 10;

/// The bytes that are waited for, unless the bucket holds fewer.
const QUANTUM: u64 = 4096;

const MICROS_PER_SECOND: u64 = 1_000_000;

/// Whoever asks about a limit, or changes it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Limit {
    /// Bytes until the next reset, or bytes per second if `kept`. 0 is no limit.
    pub(crate) bytes: u64,
    /// Whether the kernel keeps it.
    pub(crate) kept: bool,
}

/// The limit of a handle, and what has been written under it.
#[pin_data]
pub(super) struct Rate {
    #[pin]
    state: Mutex<State>,
    /// Whether there is a bucket at all, so that most writes need not lock `state`.
    paced: Atomic<bool>,
    /// Bytes written since the last reset.
    xfer: Atomic<u64>,
}

struct State {
    limit: Limit,
    /// Bytes that may be written now. Less than 0 after a write that could not be divided.
    tokens: i64,
    /// When `tokens` was right.
    stamp: Instant<Monotonic>,
    /// Wakes those who poll when there are tokens again.
    alarm: Option<Alarm>,
}

impl State {
    /// What the bucket holds, in bytes.
    fn burst(&self) -> i64 {
        let burst = (self.limit.bytes / BURSTS_PER_SECOND).max(1);
        i64::try_from(burst).unwrap_or(i64::MAX)
    }

    /// Puts in what has come since the last time.
    fn fill(&mut self) {
        let micros = u64::try_from(self.stamp.elapsed().as_nanos() / 1000).unwrap_or(0);
        let new = micros.saturating_mul(self.limit.bytes) / MICROS_PER_SECOND;
        if new == 0 {
            // The time goes on counting: a slow rate takes many times to make a byte.
            return;
        }
        // The time that the new ones took; what is left over counts the next time.
        let took = new.saturating_mul(MICROS_PER_SECOND) / self.limit.bytes;
        let took = i64::try_from(took.min(micros)).unwrap_or(0);
        let new = i64::try_from(new).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_add(new).min(self.burst());
        self.stamp = self.stamp + Delta::from_micros(took);
    }

    /// How long until a write may go on: `None` if it may now.
    fn wait(&mut self) -> Option<Delta> {
        if !self.limit.kept || self.limit.bytes == 0 {
            return None;
        }
        self.fill();
        let wanted = self.burst().min(QUANTUM as i64);
        let missing = u64::try_from(wanted.saturating_sub(self.tokens)).unwrap_or(0);
        if missing == 0 {
            return None;
        }
        let micros = missing
            .saturating_mul(MICROS_PER_SECOND)
            .div_ceil(self.limit.bytes);
        Some(Delta::from_micros(
            i64::try_from(micros).unwrap_or(i64::MAX / 1000),
        ))
    }
}

/// What [`Rate::get`] tells.
pub(crate) struct RateInfo {
    pub(crate) limit: Limit,
    /// Bytes written since the last reset.
    pub(crate) xfer: u64,
    /// Whether nothing more should be written for now.
    pub(crate) exceeded: bool,
}

impl Rate {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_mutex!(
                State {
                    limit: Limit::default(),
                    tokens: 0,
                    stamp: Instant::now(),
                    alarm: None,
                },
                "qemufile::rate"
            ),
            paced: Atomic::new(false),
            xfer: Atomic::new(0),
        })
    }

    /// The twin of `qemu_file_get_rate_limit` and `qemu_file_rate_limit`.
    pub(super) fn get(&self) -> RateInfo {
        let mut state = self.state.lock();
        let limit = state.limit;
        let xfer = self.xfer.load(Relaxed);
        RateInfo {
            limit,
            xfer,
            exceeded: if limit.kept {
                state.wait().is_some()
            } else {
                limit.bytes > 0 && xfer > limit.bytes
            },
        }
    }

    /// The twin of `qemu_file_set_rate_limit`. A bucket is full at first.
    pub(super) fn set(&self, limit: Limit) {
        let mut state = self.state.lock();
        state.limit = limit;
        state.tokens = state.burst();
        state.stamp = Instant::now();
        self.paced.store(limit.kept && limit.bytes > 0, Relaxed);
    }

    /// The twin of `qemu_file_reset_rate_limit`.
    pub(super) fn reset(&self) {
        self.xfer.store(0, Relaxed);
    }

    /// How long until something may be written: `None` if it may now.
    pub(super) fn wait(&self) -> Option<Delta> {
        self.state.lock().wait()
    }

    /// How many of `wanted` bytes may be written now: `None` if that is to be waited for.
    ///
    /// A write that is not to be divided may have all of them as soon as it may have one.
    pub(super) fn grant(&self, wanted: usize, whole: bool) -> Option<usize> {
        if !self.paced.load(Relaxed) {
            return Some(wanted);
        }
        let mut state = self.state.lock();
        if state.wait().is_some() {
            return None;
        }
        if whole || !state.limit.kept || state.limit.bytes == 0 {
            return Some(wanted);
        }
        Some(usize::try_from(state.tokens).map_or(0, |tokens| tokens.min(wanted)))
    }

    /// Counts bytes that were written.
    pub(super) fn spend(&self, bytes: usize) {
        self.xfer.fetch_add(bytes as u64, Relaxed);
        if self.paced.load(Relaxed) {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            let mut state = self.state.lock();
            state.tokens = state.tokens.saturating_sub(bytes);
        }
    }

    /// Whether a write would not wait for tokens. If it would, `notifier` tells when it no longer
    /// would.
    pub(super) fn poll(&self, notifier: &Arc<Notifier>) -> bool {
        if !self.paced.load(Relaxed) {
            return true;
        }
        let mut state = self.state.lock();
        let Some(wait) = state.wait() else {
            return true;
        };
        // The old one ends first, as the two are of one timer.
        state.alarm = None;
        state.alarm = Some(Alarm::start(notifier, wait));
        false
    }
}
