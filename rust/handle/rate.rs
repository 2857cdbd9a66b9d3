// SPDX-License-Identifier: GPL-2.0

//! The rate limit of a handle.
//!
//! There are two kinds. QEMU's is a number of bytes, which the writer itself checks and resets. The
//! other kind is enforced by the kernel: a token bucket that fills at a number of bytes per second
//! and holds a tenth of a second of them.
//!
//! The bucket's lock is the innermost but for those of wait queues. A writer that waits for tokens
//! checks them under the stream's lock, and the limit is changed under that lock, too.

use super::notifier::{
    Alarm,
    Notifier, //
};
use crate::qemu_file::RateLimit;
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

/// A bucket holds the bytes of this part of a second: QEMU's `BUFFER_DELAY` of 100 ms.
const BURSTS_PER_SECOND: u64 = 10;

/// A writer waits for this many bytes, or for a full bucket if that is less.
const QUANTUM: u64 = 4096;

const MICROS_PER_SECOND: u64 = 1_000_000;

/// A handle's rate limit.
#[derive(Clone, Copy)]
pub(crate) struct RateSetting {
    /// Bytes until the next reset, or bytes per second if `kept`. 0 is no limit.
    pub(crate) bytes: u64,
    /// Whether the kernel enforces it.
    pub(crate) kept: bool,
}

/// The limit of a handle, and the bytes written under it.
#[pin_data]
pub(super) struct Rate {
    /// QEMU's kind: the limit, and the bytes written since the last reset.
    limit: RateLimit,
    #[pin]
    bucket: Mutex<Bucket>,
    /// Whether the kernel enforces a limit. Writes without one do not lock `bucket`.
    is_kept: Atomic<bool>,
}

struct Bucket {
    /// Whether the kernel enforces the limit.
    kept: bool,
    /// Bytes per second, 0 for no limit.
    rate: u64,
    /// Bytes that may be written now. Negative after a write that could not be cut.
    tokens: i64,
    /// The time of the last update of `tokens`.
    stamp: Instant<Monotonic>,
    /// Wakes pollers when there are tokens again.
    alarm: Option<Alarm>,
}

impl Bucket {
    /// Capacity of the bucket, in bytes.
    fn burst(&self) -> i64 {
        let burst = (self.rate / BURSTS_PER_SECOND).max(1);
        i64::try_from(burst).unwrap_or(i64::MAX)
    }

    /// Adds the tokens for the time since the last update.
    fn fill(&mut self) {
        let micros = u64::try_from(self.stamp.elapsed().as_nanos() / 1000).unwrap_or(0);
        let new = micros.saturating_mul(self.rate) / MICROS_PER_SECOND;
        if new == 0 {
            // `stamp` stays: at a slow rate several updates make up one byte.
            return;
        }
        // Only the time of whole bytes is used up; the rest counts for the next update.
        let took = new.saturating_mul(MICROS_PER_SECOND) / self.rate;
        let took = i64::try_from(took.min(micros)).unwrap_or(0);
        let new = i64::try_from(new).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_add(new).min(self.burst());
        self.stamp = self.stamp + Delta::from_micros(took);
    }

    /// How long until a write may go on: `None` if it may now.
    fn wait(&mut self) -> Option<Delta> {
        if self.rate == 0 {
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
            .div_ceil(self.rate);
        Some(Delta::from_micros(
            i64::try_from(micros).unwrap_or(i64::MAX / 1000),
        ))
    }
}

/// The result of [`Rate::get`].
pub(crate) struct RateInfo {
    pub(crate) limit: RateSetting,
    /// Bytes written since the last reset.
    pub(crate) xfer: u64,
    /// Whether the limit is reached.
    pub(crate) exceeded: bool,
}

impl Rate {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            limit: RateLimit::new(),
            bucket <- new_mutex!(
                Bucket {
                    kept: false,
                    rate: 0,
                    tokens: 0,
                    stamp: Instant::now(),
                    alarm: None,
                },
                "qemufile::rate"
            ),
            is_kept: Atomic::new(false),
        })
    }

    /// The twin of `qemu_file_get_rate_limit` and `qemu_file_rate_limit`.
    pub(super) fn get(&self) -> RateInfo {
        let mut bucket = self.bucket.lock();
        RateInfo {
            limit: RateSetting {
                bytes: self.limit.limit(),
                kept: bucket.kept,
            },
            xfer: self.limit.used(),
            exceeded: if bucket.kept {
                bucket.wait().is_some()
            } else {
                self.limit.is_exceeded(0)
            },
        }
    }

    /// The twin of `qemu_file_set_rate_limit`. A new bucket is full.
    pub(super) fn set(&self, limit: RateSetting) {
        let mut bucket = self.bucket.lock();
        self.limit.set_limit(limit.bytes);
        bucket.kept = limit.kept;
        bucket.rate = if limit.kept { limit.bytes } else { 0 };
        bucket.tokens = bucket.burst();
        bucket.stamp = Instant::now();
        self.is_kept.store(bucket.rate > 0, Relaxed);
    }

    /// The twin of `qemu_file_reset_rate_limit`.
    pub(super) fn reset(&self) {
        self.limit.reset();
    }

    /// How long until something may be written: `None` if it may now.
    pub(super) fn wait(&self) -> Option<Delta> {
        self.bucket.lock().wait()
    }

    /// How many of `wanted` bytes may be written now. `None`: wait for tokens first.
    pub(super) fn grant(&self, wanted: usize) -> Option<usize> {
        if !self.is_kept() {
            return Some(wanted);
        }
        let mut bucket = self.bucket.lock();
        if bucket.wait().is_some() {
            return None;
        }
        if bucket.rate == 0 {
            return Some(wanted);
        }
        Some(usize::try_from(bucket.tokens).map_or(0, |tokens| tokens.min(wanted)))
    }

    /// Whether the kernel enforces a limit.
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept.load(Relaxed)
    }

    /// Counts bytes that were written.
    pub(super) fn spend(&self, bytes: usize) {
        self.limit.account(bytes as u64);
        if self.is_kept() {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            let mut bucket = self.bucket.lock();
            bucket.tokens = bucket.tokens.saturating_sub(bytes);
        }
    }

    /// Whether a write would go on without waiting for tokens. If not, `notifier` wakes pollers
    /// when it would.
    pub(super) fn allows_or_arm(&self, notifier: &Arc<Notifier>) -> bool {
        if !self.is_kept() {
            return true;
        }
        let mut bucket = self.bucket.lock();
        let Some(wait) = bucket.wait() else {
            return true;
        };
        // Cancel the old alarm first: both use the same timer.
        bucket.alarm = None;
        bucket.alarm = Some(Alarm::start(notifier, wait));
        false
    }
}
