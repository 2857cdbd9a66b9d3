// SPDX-License-Identifier: GPL-2.0

//! Writing a range of bytes while others write elsewhere.
//!
//! The range is locked ([`ranges`](super::ranges)). Bytes are copied under the read side of the
//! stream's lock, or without it, where that is possible.

use super::{
    locks::View,
    write::Allowance,
    Writer,
    PAGE_BYTES,
    SLICE, //
};
use crate::{
    sized_buffer::{
        Fresh,
        Progress, //
    },
    sys::{
        copy::Source,
        iov::SourceIter,
        page::{
            Run,
            PAGE_SIZE, //
        },
    },
};
use kernel::prelude::*;

/// The most bytes of a short write, which does not take the lock for each of its parts.
const SHORT: usize = 64 << 10;

/// Where a write can put new pages.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    pos: u64,
    /// How many, from `pos` on. May have changed since: a fault may have made a page.
    pages: usize,
    /// Whether the buffer has kept pages for writes.
    has_spare: bool,
}

impl View<'_> {
    /// Where a write of `bytes` bytes at `pos` can put new pages.
    fn look_ahead(&self, pos: u64, bytes: usize) -> Ahead {
        Ahead {
            pos,
            pages: self.buffer.fresh_pages(pos, bytes / PAGE_SIZE),
            has_spare: self.buffer.has_spare(),
        }
    }
}

impl Writer<'_> {
    /// Writes up to a slice of the bytes of `src` at `pos` in place, at most as many as `allow` says,
    /// where that changes nothing but the bytes. Returns the number of bytes, 0 if the first one
    /// cannot be written so, and what may be done of the rest of the `wanted` bytes, if there is one.
    ///
    /// Fails as [`Writer::allowance`] and `allow` do.
    pub(crate) fn overwrite<E: From<Error>>(
        &self,
        pos: u64,
        src: &mut SourceIter<'_, '_>,
        wanted: usize,
        allow: impl FnOnce() -> Result<usize, E>,
    ) -> Result<(usize, Option<Allowance>), E> {
        let view = self.stream.without_due();
        view.may_write(pos)?;
        self.is_read.set(view.can_drain());
        let mut bytes = 0;
        if pos < view.buffer.len() {
            let allowed = allow()?.min(SLICE);
            bytes = view.buffer.overwrite(pos, src.limit(allowed)).bytes;
        }
        let (next, left) = (pos.saturating_add(bytes as u64), wanted - bytes);
        let room = (left > 0).then(|| view.room(next, left, false));
        if left > 0 && !self.is_alone(left) {
            self.ahead.set(Some(view.look_ahead(next, left)));
        }
        match bytes {
            0 => drop(view),
            _ => self.publish_in_place(view),
        }
        let room = room.map(|room| self.paid_for(next, room)).transpose()?;
        Ok((bytes, room))
    }

    /// Publishes bytes that were written in place.
    fn publish_in_place(&self, view: View<'_>) {
        view.note_change();
        drop(view);
        self.stream.notify_readers();
    }

    /// As [`Writer::write_slice`], for some of the bytes. Others write elsewhere meanwhile.
    ///
    /// Existing pages are written in place, under the read side of the lock. New pages are filled
    /// without the lock, and then put into the buffer. All else is done as [`Writer::write_slice`]
    /// does it: up to the end of the page, or all of a short write.
    pub(super) fn write_beside_others(&self, here: u64, src: &mut SourceIter<'_, '_>) -> Progress {
        let wanted = src.remaining();
        let known = self.ahead.take();
        let ahead = match known.filter(|ahead| ahead.pos == here && ahead.pages > 0) {
            Some(ahead) => ahead,
            None => {
                let view = self.stream.read_bytes();
                if here < view.draining.position() {
                    return Progress::none(ENXIO);
                }
                let progress = view.buffer.overwrite(here, src);
                if progress.bytes > 0 {
                    self.publish_in_place(view);
                    return progress;
                }
                if progress.end.is_err() {
                    return progress;
                }
                view.look_ahead(here, wanted)
            }
        };
        let pages = ahead.pages.min(wanted / PAGE_SIZE);
        let bytes = pages * PAGE_SIZE;
        if bytes > 0 && (bytes == wanted || wanted > SHORT) {
            let spare = self.stream.take_spare(here, pages, ahead.has_spare);
            return self.write_fresh(here, src.limit(bytes), spare);
        }
        let to_page = (PAGE_BYTES - here % PAGE_BYTES) as usize;
        let most = if wanted > SHORT { to_page } else { wanted };
        self.write_slice(here, src.limit(most))
    }

    /// Writes the bytes of `src`, whole pages, at `here`. They are copied to new pages, or to those of
    /// `spare`, before the lock is taken.
    fn write_fresh(&self, here: u64, src: &mut SourceIter<'_, '_>, spare: Option<Run>) -> Progress {
        let (fresh, end) = match Fresh::new(here, src, spare) {
            Ok(filled) => filled,
            Err(err) => return Progress::none(err),
        };
        let put = self.change(here, |buffer| buffer.put_fresh(fresh));
        Progress {
            bytes: put.bytes,
            end: put.end.and(end),
        }
    }
}
