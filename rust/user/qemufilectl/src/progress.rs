// SPDX-License-Identifier: GPL-2.0

//! Progress on a terminal.

use crate::cli::Options;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// A bar on standard error, if that is a terminal: bytes, rate, time left.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// With a total in bytes, or none.
    pub(crate) fn new(options: &Options, total: Option<u64>) -> Self {
        let target = match options.quiet || options.json {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr(),
        };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = match total {
            Some(_) => "{bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
            None => "{spinner} {binary_bytes}, {binary_bytes_per_sec}, {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if total.is_none() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self(bar)
    }

    pub(crate) fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    pub(crate) fn set_total(&self, total: u64) {
        self.0.set_length(total);
    }
}

/// The bar goes away: what remains is said by the command.
impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
