// SPDX-License-Identifier: GPL-2.0

//! An incremental save: what makes one stream of another.
//!
//! All numbers are big-endian. A head: the magic number, a version, flags (0), the length of the old
//! and of the new stream. Records, in ascending order and without overlap: kind, start, length, and
//! for data the bytes. A trailer: the kind 0, the number of records, the number of bytes of data, and
//! the CRC-32 of all before. Nothing follows. Documented in Documentation/user/qemufilectl.rst.

use crc32fast::Hasher;
use std::{
    fmt,
    io::{self, Read, Write},
};

const MAGIC: [u8; 8] = *b"QFILEINC";
const VERSION: u32 = 1;

const END: u32 = 0;
const DATA: u32 = 1;
const ZEROS: u32 = 2;

/// The lengths of the old and of the new stream, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    pub(crate) old: u64,
    pub(crate) new: u64,
}

/// A range of the new stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) start: u64,
    /// More than 0.
    pub(crate) length: u64,
    /// Its bytes follow. Else it reads as zeros.
    pub(crate) is_data: bool,
}

/// Why an increment cannot be read.
#[derive(Debug)]
pub(crate) enum Broken {
    Io(io::Error),
    Format(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Format(text) => f.write_str(text),
        }
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Format("it ends too early".into()),
            _ => Self::Io(error),
        }
    }
}

/// Writes an increment.
pub(crate) struct Writer<W> {
    output: W,
    crc: Hasher,
    records: u64,
    bytes: u64,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(output: W, lengths: Lengths) -> io::Result<Self> {
        let mut this = Self {
            output,
            crc: Hasher::new(),
            records: 0,
            bytes: 0,
        };
        this.put(&MAGIC)?;
        this.put(&VERSION.to_be_bytes())?;
        this.put(&0u32.to_be_bytes())?;
        this.put(&lengths.old.to_be_bytes())?;
        this.put(&lengths.new.to_be_bytes())?;
        Ok(this)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.output.write_all(bytes)
    }

    /// A record; its bytes, if it has some, have to follow.
    pub(crate) fn record(&mut self, record: Record) -> io::Result<()> {
        let kind = if record.is_data { DATA } else { ZEROS };
        self.put(&kind.to_be_bytes())?;
        self.put(&record.start.to_be_bytes())?;
        self.put(&record.length.to_be_bytes())?;
        self.records += 1;
        Ok(())
    }

    pub(crate) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        self.put(bytes)
    }

    /// The trailer. Returns the number of bytes of data.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        let (records, bytes) = (self.records, self.bytes);
        self.put(&END.to_be_bytes())?;
        self.put(&records.to_be_bytes())?;
        self.put(&bytes.to_be_bytes())?;
        let crc = self.crc.clone().finalize();
        self.output.write_all(&crc.to_be_bytes())?;
        self.output.flush()?;
        Ok(bytes)
    }
}

/// Reads an increment.
pub(crate) struct Reader<R> {
    input: R,
    crc: Hasher,
    pub(crate) lengths: Lengths,
    records: u64,
    pub(crate) bytes: u64,
    /// The end of the last record.
    end: u64,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(input: R) -> Result<Self, Broken> {
        let mut this = Self {
            input,
            crc: Hasher::new(),
            lengths: Lengths { old: 0, new: 0 },
            records: 0,
            bytes: 0,
            end: 0,
        };
        let format = |text: &str| Err(Broken::Format(text.into()));
        let mut magic = MAGIC;
        if this.data(&mut magic).is_err() || magic != MAGIC {
            return format("this is no increment of 'qemufilectl diff --export'");
        }
        if (this.be32()?, this.be32()?) != (VERSION, 0) {
            return format("it is of a newer version of qemufilectl");
        }
        this.lengths.old = this.be64()?;
        this.lengths.new = this.be64()?;
        this.bytes = 0;
        Ok(this)
    }

    /// The bytes of the last record, as many as fit.
    pub(crate) fn data(&mut self, bytes: &mut [u8]) -> Result<(), Broken> {
        self.input.read_exact(bytes)?;
        self.crc.update(bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.crc.update(&bytes);
        Ok(bytes)
    }

    fn be32(&mut self) -> Result<u32, Broken> {
        Ok(u32::from_be_bytes(self.number()?))
    }

    fn be64(&mut self) -> Result<u64, Broken> {
        Ok(u64::from_be_bytes(self.number()?))
    }

    /// The next record, all bytes of the last one read. `None` after the trailer, which was good.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, Broken> {
        let format = |text: &str| Err(Broken::Format(text.into()));
        let is_data = match self.be32()? {
            END => return self.trailer().map(|()| None),
            DATA => true,
            ZEROS => false,
            _ => return format("it is damaged: a record of an unknown kind"),
        };
        let (start, length) = (self.be64()?, self.be64()?);
        let end = start.checked_add(length);
        match end.filter(|end| length > 0 && start >= self.end && *end <= self.lengths.new) {
            Some(end) => self.end = end,
            None => return format("it is damaged: a range in a wrong place"),
        }
        self.records += 1;
        Ok(Some(Record {
            start,
            length,
            is_data,
        }))
    }

    fn trailer(&mut self) -> Result<(), Broken> {
        let sums = (self.be64()?, self.be64()?) == (self.records, self.bytes);
        let want = self.crc.clone().finalize();
        let crc = self.be32()?;
        if !sums || crc != want {
            return Err(Broken::Format("it is damaged: its sums are wrong".into()));
        }
        match self.input.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(Broken::Format("it is damaged: bytes after its end".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: Lengths = Lengths {
        old: 100,
        new: 20_000,
    };
    const RECORDS: [Record; 2] = [
        Record {
            start: 4096,
            length: 10,
            is_data: true,
        },
        Record {
            start: 8192,
            length: 4096,
            is_data: false,
        },
    ];

    fn written(records: &[Record]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, LENGTHS)?;
        for record in records {
            writer.record(*record)?;
            if record.is_data {
                writer.data(b"0123456789")?;
            }
        }
        assert_eq!(writer.finish()?, 10);
        Ok(out)
    }

    fn read(bytes: &[u8]) -> Result<Vec<Record>, Broken> {
        let mut reader = Reader::new(bytes)?;
        assert_eq!(reader.lengths, LENGTHS);
        let mut records = Vec::new();
        while let Some(record) = reader.next()? {
            if record.is_data {
                let mut data = [0; 10];
                reader.data(&mut data)?;
                assert_eq!(&data, b"0123456789");
            }
            records.push(record);
        }
        Ok(records)
    }

    #[test]
    fn what_was_written_is_read() -> Result<(), Broken> {
        assert_eq!(read(&written(&RECORDS)?)?, RECORDS);
        Ok(())
    }

    #[test]
    fn what_is_cut_or_longer_is_refused() -> Result<(), Broken> {
        let mut bytes = written(&RECORDS)?;
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "{len} bytes");
        }
        bytes.push(0);
        assert!(read(&bytes).is_err());
        Ok(())
    }

    #[test]
    fn a_wrong_byte_is_refused() -> Result<(), Broken> {
        let bytes = written(&RECORDS)?;
        // The lengths and the data are checked by read() itself.
        let data = 52..62;
        for at in (0..16)
            .chain(32..bytes.len())
            .filter(|at| !data.contains(at))
        {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            let result = std::panic::catch_unwind(|| read(&bytes).is_err());
            assert!(result.unwrap_or(true), "byte {at}");
        }
        Ok(())
    }

    #[test]
    fn ranges_are_in_order_and_within_the_stream() -> Result<(), Broken> {
        let [first, second] = RECORDS;
        assert!(read(&written(&[second, first])?).is_err());
        let mut far = second;
        far.length = LENGTHS.new;
        assert!(read(&written(&[first, far])?).is_err());
        far.length = u64::MAX;
        assert!(read(&written(&[first, far])?).is_err());
        far.length = 0;
        assert!(read(&written(&[first, far])?).is_err());
        Ok(())
    }
}
