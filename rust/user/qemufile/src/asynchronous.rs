// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Handles for tokio.

use crate::{sys, Handle};
use std::{
    io::{self, Read, Write},
    pin::Pin,
    task::{ready, Context, Poll},
};
use tokio::io::{unix::AsyncFd, AsyncRead, AsyncWrite, ReadBuf};

/// A [`Handle`] whose reads and writes wait in tokio's reactor and not in the kernel.
#[derive(Debug)]
pub struct AsyncHandle(AsyncFd<Handle>);

impl AsyncHandle {
    /// Makes the handle non-blocking, and registers it. The flag is that of the open file: all
    /// descriptors of the handle have it.
    ///
    /// Fails as `fcntl(2)` and `epoll_ctl(2)` do: with `EPERM` for a file that cannot be polled.
    ///
    /// # Panics
    ///
    /// If there is no tokio runtime with IO enabled, as [`AsyncFd::register`] does.
    pub fn new(handle: Handle) -> io::Result<Self> {
        handle.set_nonblocking(true)?;
        Ok(Self(sys::register(handle)?))
    }

    /// The handle, for all other calls.
    pub fn get_ref(&self) -> &Handle {
        self.0.get_ref()
    }

    /// The handle, no longer registered, and still non-blocking.
    pub fn into_inner(self) -> Handle {
        self.0.into_inner()
    }
}

impl AsyncRead for AsyncHandle {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            if let Ok(result) = guard.try_io(|fd| fd.get_ref().read(room)) {
                return Poll::Ready(result.map(|len| buf.advance(len)));
            }
        }
    }
}

impl AsyncWrite for AsyncHandle {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(result) = guard.try_io(|fd| fd.get_ref().write(bytes)) {
                return Poll::Ready(result);
            }
        }
    }

    /// Does nothing: a write is in the stream when it returns.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Does nothing. The end of the stream comes when its last writer is closed, or with a seal.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
