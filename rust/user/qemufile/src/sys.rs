// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The ioctls. The only file of the crate with `unsafe`.

use crate::{abi, call_error::CallError};
use rustix::{
    io::Errno,
    ioctl::{opcode, IoctlOutput, Opcode},
};
use std::{
    ffi::c_void,
    fmt,
    marker::PhantomData,
    os::fd::{AsFd, FromRawFd, OwnedFd},
};

/// `QEMUFILE_IOC_MAGIC`
const MAGIC: u8 = 0xef;

/// An ioctl whose argument is the address of a `T`. Only this file makes one, so that number and
/// struct fit.
pub(crate) struct Request<T> {
    call: Ioctl,
    number: Opcode,
    argument: PhantomData<fn(&mut T)>,
}

/// Lists the ioctls: number, direction and struct. A new one is added here, and has a method in
/// `stream.rs` or `handle.rs`.
macro_rules! calls {
    ($($(#[$doc:meta])* $variant:ident, $vis:vis $name:ident = $dir:ident($number:literal, $of:ident);)*) => {
        /// An ioctl of `<linux/qemufile.h>`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Ioctl {
            $($(#[$doc])* $variant,)*
        }

        impl Ioctl {
            /// The name in the header.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!("QEMUFILE_IOC_", stringify!($name)),)*
                }
            }

            /// The number, as `ioctl(2)` gets it.
            pub const fn number(self) -> u32 {
                match self {
                    $(Self::$variant => opcode::$dir::<abi::$of>(MAGIC, $number),)*
                }
            }
        }

        $(
            $vis const $name: Request<abi::$of> = Request {
                call: Ioctl::$variant,
                number: Ioctl::$variant.number(),
                argument: PhantomData,
            };
        )*

        /// Name, direction, number, size of the struct, and variant.
        #[cfg(test)]
        pub(crate) const CALLS: &[(&str, &str, u8, usize, Ioctl)] = &[
            $((
                concat!("QEMUFILE_IOC_", stringify!($name)),
                stringify!($dir),
                $number,
                std::mem::size_of::<abi::$of>(),
                Ioctl::$variant,
            ),)*
        ];
    };
}

calls! {
    /// The state of a handle and its stream.
    GetInfo, pub(crate) GET_INFO = read(0x00, Info);
    /// Sets the length.
    SetLength, pub(crate) SET_LENGTH = read_write(0x01, Length);
    /// How far data or a hole extends.
    GetExtent, pub(crate) GET_EXTENT = read_write(0x02, Extent);
    /// Makes a hole.
    Punch, pub(crate) PUNCH = write(0x03, Range);
    /// Another handle of the stream.
    BufOpen, pub(crate) BUFOPEN = write(0x04, Open);
    /// A new stream with the same bytes.
    Clone, pub(crate) CLONE = write(0x05, Open);
    /// The next range in which two streams differ.
    Diff, pub(crate) DIFF = read_write(0x06, Diff);
    /// How much memory the stream has alone.
    GetUsage, pub(crate) GET_USAGE = read(0x07, Usage);
    // These three have addresses in their struct: see transfer().
    /// Writes typed values.
    Put, PUT = read_write(0x10, Vector);
    /// Reads typed values.
    Get, GET = read_write(0x11, Vector);
    /// Reads typed values and leaves the position.
    Peek, PEEK = read_write(0x12, Vector);
    /// Skips bytes.
    Skip, pub(crate) SKIP = read_write(0x13, Skip);
    /// The latched error.
    GetError, pub(crate) GET_ERROR = read(0x14, Latched);
    /// Latches an error, or clears it.
    SetError, pub(crate) SET_ERROR = write(0x15, Latched);
    /// The rate limit of a handle.
    RateLimit, pub(crate) RATE_LIMIT = read_write(0x16, Rate);
    /// Sets the limit of a stream.
    SetLimit, pub(crate) SET_LIMIT = write(0x17, Limit);
    /// Sets properties of a stream.
    SetFlags, pub(crate) SET_FLAGS = write(0x18, Flags);
    /// A hook for the guest's memory.
    RamControl, pub(crate) RAM_CONTROL = write(0x20, RamControl);
    /// Asks to save a page.
    SavePage, pub(crate) SAVE_PAGE = read_write(0x21, SavePage);
}

impl fmt::Display for Ioctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An ioctl that is about to be made. Its result is the value that `ioctl(2)` returns.
struct Prepared<'a, T> {
    number: Opcode,
    argument: &'a mut T,
}

// SAFETY: `as_ptr` returns the address of a `T` that is borrowed mutably for the whole call, and
// the number, which a `Request<T>` has from the list above, names a call with a struct of the size
// of `T`, any bytes of which are valid for it (integers only). `output_from_ptr` dereferences
// nothing.
unsafe impl<T> rustix::ioctl::Ioctl for Prepared<'_, T> {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.number
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut::<T>(self.argument).cast()
    }

    unsafe fn output_from_ptr(
        output: IoctlOutput,
        _: *mut c_void,
    ) -> rustix::io::Result<IoctlOutput> {
        Ok(output)
    }
}

fn ioctl<T>(
    fd: impl AsFd,
    request: &Request<T>,
    argument: &mut T,
) -> Result<IoctlOutput, CallError> {
    let prepared = Prepared {
        number: request.number,
        argument,
    };
    // SAFETY: the call reads and writes its struct, which `argument` borrows, and for the three
    // with a `Vector` what `transfer` says. A descriptor that is no stream's answers `ENOTTY`: the
    // magic number is free in the kernel's list, and the size of the struct is part of the number.
    unsafe { rustix::ioctl::ioctl(fd, prepared) }
        .map_err(|errno| CallError::new(request.call, errno))
}

/// Makes a call whose struct has no addresses.
pub(crate) fn call<T>(
    fd: impl AsFd,
    request: &Request<T>,
    argument: &mut T,
) -> Result<(), CallError> {
    ioctl(fd, request, argument).map(drop)
}

/// Makes a call that returns a new descriptor.
pub(crate) fn open(
    fd: impl AsFd,
    request: &Request<abi::Open>,
    how: abi::Open,
) -> Result<OwnedFd, CallError> {
    let mut how = how;
    let new = ioctl(fd, request, &mut how)?;
    if new < 0 {
        return Err(CallError::new(request.call, Errno::BADF));
    }
    // SAFETY: the calls with a `struct qemufile_open` return a descriptor that they have just made
    // for this process, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// A record of a typed call.
pub(crate) enum Value<'a> {
    /// A type and a value.
    Integer(u32, u64),
    /// Bytes to be put.
    From(&'a [u8]),
    /// Bytes to be got.
    To(&'a mut [u8]),
}

/// The direction of a typed call.
#[derive(Clone, Copy)]
pub(crate) enum Transfer {
    Put,
    Get,
    /// So many bytes after the position.
    Peek(u64),
}

/// What a typed call has done.
pub(crate) struct Done {
    /// The number of complete records.
    pub(crate) records: usize,
    /// The bytes that were moved of the record after them.
    pub(crate) partial: u64,
    pub(crate) result: Result<(), CallError>,
}

/// Makes a typed call, and stores the integers that it returns. A record of the wrong direction is
/// `EINVAL`.
pub(crate) fn transfer(fd: impl AsFd, how: Transfer, values: &mut [Value<'_>]) -> Done {
    let (request, offset, puts) = match how {
        Transfer::Put => (&PUT, 0, true),
        Transfer::Get => (&GET, 0, false),
        Transfer::Peek(offset) => (&PEEK, offset, false),
    };
    let refused = |errno| Done {
        records: 0,
        partial: 0,
        result: Err(CallError::new(request.call, errno)),
    };
    let mut records = Vec::with_capacity(values.len());
    for value in values.iter_mut() {
        let (type_, value, length) = match value {
            Value::Integer(type_, value) => (*type_, *value, 0),
            Value::From(bytes) if puts => (abi::BUFFER, bytes.as_ptr() as u64, bytes.len() as u64),
            Value::To(bytes) if !puts => {
                (abi::BUFFER, bytes.as_mut_ptr() as u64, bytes.len() as u64)
            }
            Value::From(_) | Value::To(_) => return refused(Errno::INVAL),
        };
        records.push(abi::Record {
            type_,
            flags: 0,
            value,
            length,
        });
    }
    let Ok(count) = u32::try_from(records.len()) else {
        return refused(Errno::TOOBIG);
    };
    let mut vector = abi::Vector {
        records: records.as_mut_ptr() as u64,
        count,
        offset,
        ..abi::Vector::default()
    };
    // PUT reads and GET and PEEK write the buffers of the records, and all of them write the
    // records: `values` borrows the buffers, for GET and PEEK mutably, and `records` lives until
    // after the call. The kernel goes by the `count` and the lengths above.
    let result = ioctl(fd, request, &mut vector).map(drop);
    let done = usize::try_from(vector.done).map_or(0, |done| done.min(records.len()));
    for (value, record) in values.iter_mut().zip(&records).take(done) {
        if let Value::Integer(_, value) = value {
            *value = record.value;
        }
    }
    // The kernel stores the count of a record that was moved in part as its length. A record that
    // the call did not reach keeps its own.
    let partial = match (values.get(done), records.get(done)) {
        (Some(Value::From(bytes)), Some(record)) if record.length < bytes.len() as u64 => {
            record.length
        }
        (Some(Value::To(bytes)), Some(record)) if record.length < bytes.len() as u64 => {
            record.length
        }
        _ => 0,
    };
    Done {
        records: done,
        partial,
        result,
    }
}

/// Maps a stream that nobody can change any more.
#[cfg(feature = "memmap2")]
pub(crate) fn map_unchanging(fd: &OwnedFd, length: usize) -> std::io::Result<memmap2::Mmap> {
    // SAFETY: the caller has checked that the stream is sealed: neither its bytes nor its length
    // change until it is freed, which the mapping prevents.
    unsafe { memmap2::MmapOptions::new().len(length).map(fd) }
}

/// Registers a handle with tokio's reactor.
#[cfg(feature = "tokio")]
pub(crate) fn register(
    handle: crate::Handle,
) -> std::io::Result<tokio::io::unix::AsyncFd<crate::Handle>> {
    // SAFETY: a `Handle` owns its descriptor, open, until it is dropped. Nothing replaces it: the
    // crate gives out the handle by shared reference, or after its registration has ended.
    Ok(unsafe { tokio::io::unix::AsyncFd::register(handle) }?)
}
