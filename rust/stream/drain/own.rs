// SPDX-License-Identifier: GPL-2.0

//! Where a handle's own position is while a call reads, and what that tells.

use crate::sys::file::FileExt;
use kernel::fs::File;

/// Where the handle's own position is while a call reads.
#[derive(Clone, Copy)]
pub(crate) enum Own {
    /// Where the call reads, and it follows: GET and SKIP.
    Follows,
    /// Where the call reads, and the VFS may move it or not: `read` and `pread`.
    MayFollow,
    /// Here until the call ends: PEEK.
    Stays(u64),
    /// Here, not where the call reads: `pread`.
    Elsewhere(u64),
    /// Here, not where the call reads, which may be the second part of a request of io_uring.
    Queued(u64),
}

impl Own {
    /// How a call at `pos` relates to a position that the VFS keeps; `queued` for io_uring and aio.
    pub(crate) fn of(file: &File, pos: u64, queued: bool) -> Self {
        match file_position(file) {
            own if own == pos => Self::MayFollow,
            own if queued => Self::Queued(own),
            own => Self::Elsewhere(own),
        }
    }

    /// The handle's position, when the call reads at `pos`.
    pub(in crate::stream) fn position(self, pos: u64) -> u64 {
        match self {
            Self::Follows | Self::MayFollow => pos,
            Self::Stays(own) | Self::Elsewhere(own) | Self::Queued(own) => own,
        }
    }

    /// What has been passed when the call has to wait at `pos`.
    pub(in crate::stream) fn consumed_by_waiting(self, pos: u64) -> Option<u64> {
        match self {
            Self::Follows | Self::MayFollow => Some(pos),
            Self::Stays(own) => Some(own),
            Self::Elsewhere(_) | Self::Queued(_) => None,
        }
    }
}

/// The position that a file has just now.
pub(super) fn file_position(file: &File) -> u64 {
    u64::try_from(file.position()).unwrap_or(u64::MAX)
}
