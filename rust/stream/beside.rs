// SPDX-License-Identifier: GPL-2.0

//! Writing a range of bytes while others write elsewhere.
//!
//! The range is locked ([`ranges`](super::ranges)). Bytes are copied under the read side of the
//! stream's lock, or without it, where that is possible. Short writes at the end are in
//! [`append`](super::append).

use super::{
    append::RUN,
    locks::View,
    write::Allowance,
    Writer,
    PAGE_BYTES, //
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
    /// Whether to put them all there, whatever the write needs: see [`append`](super::append).
    is_append: bool,
    /// Whether the buffer has kept pages for writes.
    has_spare: bool,
}

impl Ahead {
    /// Whether this is for one of many short writes at the end.
    pub(super) fn is_append(self) -> bool {
        self.is_append && self.pages > 0
    }

    /// The pages and the bytes for a write of `wanted` bytes.
    fn part(self, wanted: usize) -> (usize, usize) {
        let pages = match self.is_append {
            true => self.pages,
            false => self.pages.min(wanted / PAGE_SIZE),
        };
        (pages, wanted.min(pages * PAGE_SIZE))
    }
}

impl View<'_> {
    /// Where a write of `bytes` bytes at `pos` can put new pages.
    fn look_ahead(&self, pos: u64, bytes: usize) -> Ahead {
        let is_append = self.is_short_append(pos, bytes);
        // No more than the limit allows to be written.
        let most = match is_append {
            true => self
                .room(pos, RUN * PAGE_SIZE, false)
                .bytes
                .div_ceil(PAGE_SIZE),
            false => bytes / PAGE_SIZE,
        };
        Ahead {
            pos,
            pages: self.buffer.fresh_pages(pos, most),
            is_append,
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
        let (mut bytes, mut grows) = (0, false);
        let most = view.most_in_place(pos, wanted);
        if most > 0 {
            let allowed = allow()?.min(most);
            let (progress, grown) = view.write_in_place(pos, src.limit(allowed));
            (bytes, grows) = (progress.bytes, grown);
        }
        let (next, left) = (pos.saturating_add(bytes as u64), wanted - bytes);
        let room = (left > 0).then(|| view.room(next, left, false));
        if left > 0 && (view.is_short_append(next, left) || !self.is_alone(left)) {
            self.ahead.set(Some(view.look_ahead(next, left)));
        }
        match bytes {
            0 => drop(view),
            _ => self.publish_in_place(view, grows),
        }
        let room = room.map(|room| self.paid_for(next, room)).transpose()?;
        Ok((bytes, room))
    }

    /// Publishes bytes that were written in place.
    fn publish_in_place(&self, view: View<'_>, grows: bool) {
        view.note_change();
        drop(view);
        match grows {
            true => self.stream.notify_grown(),
            false => self.stream.notify_readers(),
        }
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
                let (progress, grows) = view.write_in_place(here, src);
                if progress.bytes > 0 {
                    self.publish_in_place(view, grows);
                    return progress;
                }
                if progress.end.is_err() {
                    return progress;
                }
                view.look_ahead(here, wanted)
            }
        };
        let (pages, bytes) = ahead.part(wanted);
        if bytes > 0 && (bytes == wanted || wanted > SHORT) {
            let spare = self.stream.take_spare(here, pages, ahead.has_spare);
            return self.write_fresh(here, src.limit(bytes), spare, pages);
        }
        let to_page = (PAGE_BYTES - here % PAGE_BYTES) as usize;
        let most = if wanted > SHORT { to_page } else { wanted };
        self.write_slice(here, src.limit(most))
    }

    /// Writes the bytes of `src` at `here`, for which a run of up to `pages` pages is put there. They are
    /// copied to new pages, or to those of `spare`, before the lock is taken.
    fn write_fresh(
        &self,
        here: u64,
        src: &mut SourceIter<'_, '_>,
        spare: Option<Run>,
        pages: usize,
    ) -> Progress {
        let (fresh, end) = match Fresh::new(here, src, spare, pages) {
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
