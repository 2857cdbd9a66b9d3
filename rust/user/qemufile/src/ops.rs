// SPDX-License-Identifier: GPL-2.0

//! A [`Backend`] as one of the shared sources.

use crate::{
    qemu_file::{Block, LastError, Ops, Piece, Pieces, RateLimit, ReadAhead, IO_BUF_SIZE},
    Backend, Error,
};
use std::io::{self, IoSlice};

/// A run of bytes that stays where it is.
#[derive(Clone, Copy)]
pub(crate) struct Slice<'a>(pub(crate) &'a [u8]);

impl Block for Slice<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn advance(&mut self, len: usize) {
        self.0 = self.0.get(len..).unwrap_or_default();
    }

    fn extend(&mut self, _: &Self) -> bool {
        // Two slices are two, even if their memory is adjacent.
        false
    }
}

/// A backend, and what a file keeps between calls.
pub(crate) struct Adapter<'a, B> {
    pub(crate) backend: B,
    pub(crate) last_error: LastError,
    pub(crate) rate: RateLimit,
    ahead: Box<ReadAhead<IO_BUF_SIZE>>,
    /// How far the file has been read: what comes after it may be wanted again.
    passed: u64,
    blocks: std::marker::PhantomData<&'a [u8]>,
}

impl<B: Backend> Adapter<'_, B> {
    pub(crate) fn new(backend: B) -> Self {
        Self {
            backend,
            last_error: LastError::new(),
            rate: RateLimit::new(),
            ahead: Box::new(ReadAhead::new()),
            passed: 0,
            blocks: std::marker::PhantomData,
        }
    }

    /// The number of bytes that were read ahead of position `pos`.
    pub(crate) fn ahead(&self, pos: u64) -> u64 {
        self.ahead.from(pos).len() as u64
    }

    /// Drops the bytes that were read ahead.
    pub(crate) fn drop_ahead(&mut self) {
        *self.ahead = ReadAhead::new();
    }
}

/// Makes a call again while signals interrupt it, as QEMU's backends do.
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> Result<T, kernel::error::Error> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            result => return result.map_err(|error| Error::from(error).0),
        }
    }
}

impl<'a, B: Backend> Ops for Adapter<'a, B> {
    type Block = Slice<'a>;

    fn get_error(&self) -> kernel::error::Result {
        self.last_error.get()
    }

    fn set_error(&mut self, error: kernel::error::Error) {
        self.last_error.set(error);
    }

    fn writev_buffer(
        &mut self,
        pieces: Pieces<'_, Slice<'a>>,
        _pos: u64,
    ) -> (usize, kernel::error::Result) {
        let slices: Vec<_> = pieces
            .map(|piece| match piece {
                Piece::Bytes(bytes) => IoSlice::new(bytes),
                Piece::Block(Slice(bytes)) => IoSlice::new(bytes),
            })
            .collect();
        match retry(|| self.backend.writev(&slices)) {
            Ok(len) => {
                self.rate.account(len as u64);
                (len, Ok(()))
            }
            Err(error) => (0, Err(error)),
        }
    }

    fn get_buffer(&mut self, buf: &mut [u8], pos: u64) -> kernel::error::Result<usize> {
        let backend = &mut self.backend;
        self.ahead.get(buf, pos, self.passed, |room, _| {
            retry(|| backend.read(room))
        })
    }

    fn skip_buffer(&mut self, size: u64, pos: u64) -> kernel::error::Result<u64> {
        self.get_buffer(&mut [0], pos)?;
        Ok(size.min(self.ahead.from(pos).len() as u64))
    }

    fn passed(&mut self, pos: u64) {
        self.passed = pos;
    }
}
