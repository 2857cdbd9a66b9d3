// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What of streams and handles can be tested with other files: a memfd, a pipe. The device itself
//! is tested by device.rs.

use qemufile::{Access, AsyncHandle, CallError, Get, Handle, OpenFlags, Put, Reason, Stream};
use rustix::fs::MemfdFlags;
use std::{
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn memfd() -> io::Result<Handle> {
    Ok(Handle::from(rustix::fs::memfd_create(
        "test",
        MemfdFlags::CLOEXEC,
    )?))
}

#[test]
fn a_handle_is_read_and_written_like_a_file() -> io::Result<()> {
    let mut handle = memfd()?;
    handle.write_all(b"migration")?;
    (&handle).write_all(b" stream")?;
    assert_eq!(handle.stream_position()?, 16);
    handle.seek(SeekFrom::Start(10))?;
    let mut text = String::new();
    (&handle).read_to_string(&mut text)?;
    assert_eq!(text, "stream");
    assert_eq!(handle.seek(SeekFrom::End(-6))?, 10);
    assert_eq!(handle.seek(SeekFrom::Current(-10))?, 0);
    handle.flush()?;
    handle.sync()?;
    assert!(handle.seek(SeekFrom::Current(-1)).is_err());
    Ok(())
}

#[test]
fn offsets_leave_the_position() -> io::Result<()> {
    let mut handle = memfd()?;
    handle.write_all_at(b"0123456789", 5)?;
    handle.stream().write_all_at(b"x", 14)?;
    let mut bytes = [0; 4];
    handle.read_exact_at(&mut bytes, 11)?;
    assert_eq!(&bytes, b"678x");
    assert_eq!(handle.stream_position()?, 0);
    let end = handle.read_exact_at(&mut bytes, 12);
    assert_eq!(
        end.err().map(|err| err.kind()),
        Some(io::ErrorKind::UnexpectedEof)
    );
    Ok(())
}

#[test]
fn vectors_are_written_and_read_in_one_call() -> io::Result<()> {
    let mut handle = memfd()?;
    let parts = [b"mig", b"rat", b"ion"].map(|part| io::IoSlice::new(part));
    assert_eq!(handle.write_vectored(&parts)?, 9);
    handle.rewind()?;
    let (mut one, mut two) = ([0; 4], [0; 5]);
    let mut bufs = [io::IoSliceMut::new(&mut one), io::IoSliceMut::new(&mut two)];
    assert_eq!(handle.read_vectored(&mut bufs)?, 9);
    assert_eq!((&one, &two), (b"migr", b"ation"));
    Ok(())
}

#[test]
fn descriptors_come_and_go() -> io::Result<()> {
    let handle = memfd()?;
    let number = handle.as_raw_fd();
    let mut other = handle.try_clone()?;
    assert_ne!(other.as_raw_fd(), number);
    other.write_all(b"x")?;
    // The two share their position.
    assert_eq!((&handle).stream_position()?, 1);
    let stream = handle.into_stream();
    assert_eq!(stream.as_fd().as_raw_fd(), number);
    let fd: OwnedFd = stream.into_handle().into();
    assert_eq!(fd.as_raw_fd(), number);
    Ok(())
}

fn not_a_stream<T: std::fmt::Debug>(result: Result<T, CallError>) {
    assert_eq!(result.unwrap_err().reason(), Reason::NotAStream);
}

#[test]
fn another_file_is_not_a_stream() -> io::Result<()> {
    let handle = memfd()?;
    let stream = handle.stream();
    not_a_stream(stream.info());
    not_a_stream(stream.set_length(1));
    not_a_stream(stream.extent_at(0));
    not_a_stream(stream.punch(0, 1));
    not_a_stream(stream.difference_at(stream, 0));
    not_a_stream(stream.usage());
    not_a_stream(stream.bufopen(Access::READ, OpenFlags::empty()));
    not_a_stream(stream.clone_stream(Access::READ, OpenFlags::empty()));
    not_a_stream(stream.set_limit(None));
    not_a_stream(stream.seal());
    not_a_stream(handle.skip(1));
    not_a_stream(handle.rate());
    not_a_stream(handle.latched_error());
    let error = handle.put(&[Put::Byte(1)]).unwrap_err();
    assert_eq!((error.records, error.bytes), (0, 0));
    assert_eq!(error.source.reason(), Reason::NotAStream);
    let mut value = 5;
    let error = handle.get(&mut [Get::Be32(&mut value)]).unwrap_err();
    assert_eq!(io::Error::from(error).raw_os_error(), Some(25));
    assert_eq!(value, 5);
    assert_eq!(
        error.to_string(),
        "QEMUFILE_IOC_GET: this is not a stream, or the module is too old, after 0 records and 0 \
         bytes of the next"
    );
    assert!(stream.extents().all(|extent| extent.is_err()));
    assert_eq!(stream.extents().count(), 1);
    Ok(())
}

#[test]
fn only_a_sealed_stream_is_mapped_as_a_slice() -> io::Result<()> {
    // What is not a stream is not sealed.
    assert!(memfd()?.stream().map_sealed().is_err());
    assert!(memfd()?.stream().map_raw_read_only().is_err());
    Ok(())
}

#[test]
fn wrong_arguments_are_refused_without_a_call() -> io::Result<()> {
    let handle = memfd()?;
    let limit = handle.stream().set_limit(Some(0)).unwrap_err();
    assert_eq!(limit.reason(), Reason::Invalid);
    let error = handle.set_latched_error(Some(-5)).unwrap_err();
    assert_eq!(error.reason(), Reason::Invalid);
    let none = Stream::open("/dev/null", Access::empty(), OpenFlags::empty());
    assert_eq!(none.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    Ok(())
}

#[tokio::test]
async fn a_pipe_is_waited_for_by_the_reactor() -> io::Result<()> {
    let (reader, writer) = rustix::pipe::pipe()?;
    let mut reader = AsyncHandle::new(Handle::from(reader))?;
    let mut writer = AsyncHandle::new(Handle::from(writer))?;
    let sent: Vec<u8> = (0..300_000u32).map(|i| i as u8).collect();
    let (write, read) = tokio::join!(
        async {
            writer.write_all(&sent).await?;
            writer.shutdown().await?;
            drop(writer);
            io::Result::Ok(())
        },
        async {
            let mut have = Vec::new();
            reader.read_to_end(&mut have).await?;
            io::Result::Ok(have)
        }
    );
    write?;
    assert!(read? == sent);
    assert!(reader.get_ref().as_raw_fd() >= 0);
    assert!(AsyncHandle::new(memfd()?).is_err());
    Ok(())
}
