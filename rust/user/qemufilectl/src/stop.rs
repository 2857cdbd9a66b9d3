// SPDX-License-Identifier: GPL-2.0

//! Ctrl-C as a flag, for commands that have something to put back.

use crate::error::{Error, Of, Result, Status};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::sync::{
    atomic::{AtomicBool, Ordering},
    Arc,
};

/// Whether the command should end.
#[derive(Clone)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on, Ctrl-C, SIGTERM and SIGHUP set the flag only.
    pub(crate) fn new() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, flag.clone()).of("signals")?;
        }
        Ok(Self(flag))
    }

    pub(crate) fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails if the command should end.
    pub(crate) fn check(&self) -> Result {
        match self.requested() {
            true => Err(Error::new(Status::Interrupted, "interrupted")),
            false => Ok(()),
        }
    }
}
