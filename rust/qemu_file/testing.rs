// SPDX-License-Identifier: GPL-2.0

//! A backend for tests, with a settable number of bytes a call and settable errors.

use super::{
    Block,
    LastError,
    Ops,
    Piece,
    Pieces,
    QemuFile, //
};
use crate::sized_buffer::SizedBuffer;
use kernel::prelude::*;

/// A backend over a readable and writable buffer.
pub struct Backend {
    /// The bytes.
    pub buffer: SizedBuffer,
    /// The largest number of bytes that a call moves.
    pub most: usize,
    /// An error, and the number of calls that succeed before it. The calls after it succeed.
    pub fail: Option<(usize, Error)>,
    /// The number of calls that succeeded.
    pub calls: usize,
    /// The number of pieces of the last write.
    pub pieces: usize,
    /// The position up to which the file has been read.
    pub passed: u64,
    last_error: LastError,
}

/// A range of a block.
#[derive(Clone, Copy)]
pub struct Slice<'a> {
    /// The block.
    pub block: &'a [u8],
    /// The start of the range.
    pub start: usize,
    /// The end of the range.
    pub end: usize,
}

impl Block for Slice<'_> {
    fn len(&self) -> usize {
        self.end - self.start
    }

    fn advance(&mut self, len: usize) {
        self.start += len;
    }

    fn extend(&mut self, next: &Self) -> bool {
        let adjacent = core::ptr::eq(self.block, next.block) && self.end == next.start;
        if adjacent {
            self.end = next.end;
        }
        adjacent
    }
}

/// A file over a backend, and over blocks of one lifetime.
pub struct Testing<'a>(Backend, core::marker::PhantomData<&'a ()>);

impl core::ops::Deref for Testing<'_> {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.0
    }
}

impl core::ops::DerefMut for Testing<'_> {
    fn deref_mut(&mut self) -> &mut Backend {
        &mut self.0
    }
}

/// Makes a file over a backend that holds `bytes`.
pub fn file<'a>(bytes: &[u8]) -> Result<QemuFile<Testing<'a>>> {
    let backend = Backend {
        buffer: SizedBuffer::from_slice(bytes)?,
        most: usize::MAX,
        fail: None,
        calls: 0,
        pieces: 0,
        passed: 0,
        last_error: LastError::new(),
    };
    let ops = Testing(backend, core::marker::PhantomData);
    Ok(QemuFile::fopen_ops(ops, 0, 10))
}

impl Backend {
    /// Counts a call. Returns the error that is set for it.
    fn call(&mut self) -> Result {
        match &mut self.fail {
            Some((0, error)) => {
                let error = *error;
                self.fail = None;
                Err(error)
            }
            Some((after, _)) => {
                *after -= 1;
                Ok(())
            }
            None => Ok(()),
        }?;
        self.calls += 1;
        Ok(())
    }

    /// Whether the buffer holds exactly `bytes`.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        let mut pos = 0;
        self.buffer.len() == bytes.len() as u64
            && bytes.chunks(64).all(|expected| {
                let mut there = [0; 64];
                let len = self.buffer.read_at(pos, &mut there);
                pos += len as u64;
                there.get(..len.min(expected.len())) == Some(expected)
            })
    }
}

impl<'a> Ops for Testing<'a> {
    type Block = Slice<'a>;

    fn get_error(&self) -> Result {
        self.last_error.get()
    }

    fn set_error(&mut self, error: Error) {
        self.last_error.set(error);
    }

    fn writev_buffer(&mut self, pieces: Pieces<'_, Slice<'a>>, pos: u64) -> (usize, Result) {
        if let Err(error) = self.call() {
            return (0, Err(error));
        }
        self.pieces = 0;
        let mut done = 0;
        for piece in pieces {
            let bytes = match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::Block(slice) => slice.block.get(slice.start..slice.end).unwrap_or_default(),
            };
            self.pieces += 1;
            let most = (self.most - done).min(bytes.len());
            let bytes = bytes.get(..most).unwrap_or(bytes);
            match self.buffer.write_at(pos + done as u64, bytes) {
                Ok(len) => done += len,
                Err(error) => return (done, Err(error)),
            }
        }
        (done, Ok(()))
    }

    fn get_buffer(&mut self, buf: &mut [u8], pos: u64) -> Result<usize> {
        self.call()?;
        let most = self.most.min(buf.len());
        let buf = buf.get_mut(..most).unwrap_or_default();
        Ok(self.buffer.read_at(pos, buf))
    }

    fn skip_buffer(&mut self, size: u64, pos: u64) -> Result<u64> {
        self.call()?;
        let left = self.buffer.len().saturating_sub(pos);
        Ok(left.min(size).min(self.most as u64))
    }

    fn passed(&mut self, pos: u64) {
        self.passed = pos;
    }
}
