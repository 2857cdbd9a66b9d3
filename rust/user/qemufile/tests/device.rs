// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The crate on the device. Runs where the module is loaded, with `QEMUFILE_MOUNT` naming a mounted
//! file system of streams.

use qemufile::{
    Access, AsyncHandle, CallError, Extent, ExtentKind, Fd, Get, Handle, Mode, OpenFlags,
    PageSaved, Properties, Put, QemuFile, RamControl, RateLimit, Reason, Stream,
};
use std::{
    error::Error,
    io::{Read, Seek, SeekFrom, Write},
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const NONE: OpenFlags = OpenFlags::empty();
const BOTH: Access = Access::all();

fn reason<T: std::fmt::Debug>(result: std::result::Result<T, CallError>) -> Reason {
    result.unwrap_err().reason()
}

fn mount() -> PathBuf {
    std::env::var_os("QEMUFILE_MOUNT")
        .expect("QEMUFILE_MOUNT names no mount")
        .into()
}

#[test]
fn info_is_of_the_handle_and_its_stream() -> Result {
    let mut handle = Stream::new()?.into_handle();
    handle.write_all(&[1; 5000])?;
    let info = handle.stream().info()?;
    assert_eq!(
        (info.length, info.allocated, info.position),
        (5000, 8192, 5000)
    );
    assert_eq!((info.readers, info.writers, info.access), (1, 1, BOTH));
    assert_eq!((info.limit, info.error, info.drained), (None, None, 0));
    assert_eq!(info.properties, Properties::empty());
    Ok(())
}

#[test]
fn a_clone_shares_bytes_and_no_changes() -> Result {
    let mut writer = Stream::new()?.into_handle();
    writer.write_all(b"registers, memory")?;
    let mut snapshot = writer.stream().clone_stream(Access::READ, NONE)?;
    writer.write_all_at(b"REGISTERS", 0)?;
    let mut state = String::new();
    snapshot.read_to_string(&mut state)?;
    assert_eq!(state, "registers, memory");
    let more = snapshot.stream().clone_stream(BOTH, NONE);
    assert_eq!(reason(more), Reason::TooMuchAccess);
    Ok(())
}

#[test]
fn a_reader_waits_for_the_last_writer() -> Result {
    let stream = Stream::new()?;
    let mut reader = stream.bufopen(Access::READ, NONE)?;
    let mut writer = stream.bufopen(Access::WRITE, NONE)?;
    drop(stream);
    let thread = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    writer.write_all(b"all of it")?;
    drop(writer);
    assert_eq!(thread.join().unwrap()?, "all of it");
    Ok(())
}

#[test]
fn differences_and_usage() -> Result {
    let stream = Stream::new()?;
    stream.write_all_at(&[1; 40_960], 0)?;
    let clone = stream.clone_stream(BOTH, NONE)?;
    let clone = clone.stream();
    assert_eq!(stream.difference_at(clone, 0)?, None);
    assert_eq!(stream.usage()?.private, 0);
    clone.write_all_at(&[2], 8192)?;
    clone.write_all_at(&[2; 4097], 20_480)?;
    let ranges: std::result::Result<Vec<_>, _> = stream.differences(clone).collect();
    assert_eq!(ranges?, [8192..12_288, 20_480..28_672]);
    assert_eq!(clone.usage()?.private, 12_288);
    assert_eq!(clone.usage()?.shared, 28_672);
    Ok(())
}

#[test]
fn extents_and_holes() -> Result {
    let stream = Stream::new()?;
    assert_eq!(stream.set_length(40_960)?, 40_960);
    stream.write_all_at(&[1; 8192], 8192)?;
    stream.punch(12_288, 4096)?;
    let extents: std::result::Result<Vec<_>, _> = stream.extents().collect();
    let data = Extent {
        start: 8192,
        length: 4096,
        kind: ExtentKind::Data,
    };
    assert_eq!(
        extents?,
        [
            Extent {
                start: 0,
                length: 8192,
                kind: ExtentKind::Hole
            },
            data,
            Extent {
                start: 12_288,
                length: 28_672,
                kind: ExtentKind::Hole
            },
        ]
    );
    assert_eq!(stream.extent_at(8192)?, Some(data));
    assert_eq!(stream.extent_at(40_960)?, None);
    assert_eq!(reason(stream.punch(0, 0)), Reason::Invalid);
    Ok(())
}

#[test]
fn a_limit_and_a_latched_error() -> Result {
    let mut handle = Stream::new()?.into_handle();
    handle.stream().set_limit(Some(10))?;
    assert_eq!(handle.stream().info()?.limit, Some(10));
    assert_eq!(handle.write(b"0123456789abc")?, 10);
    assert_eq!(handle.latched_error()?, Some(28));
    assert_eq!(handle.sync().unwrap_err().raw_os_error(), Some(28));
    handle.sync()?;
    assert_eq!(reason(handle.skip(1)), Reason::NoSpace);
    handle.set_latched_error(None)?;
    assert_eq!(handle.latched_error()?, None);
    handle.set_latched_error(Some(5))?;
    assert_eq!(handle.stream().info()?.error, Some(5));
    assert_eq!(reason(handle.stream().set_length(11)), Reason::NoSpace);
    handle.stream().set_limit(None)?;
    assert_eq!(handle.stream().set_length(11)?, 11);
    handle.set_latched_error(None)?;
    Ok(())
}

#[test]
fn values_are_put_got_and_peeked() -> Result {
    let mut handle = Stream::new()?.into_handle();
    let values = [
        Put::Be32(0x5145_564d),
        Put::Be16(3),
        Put::Byte(7),
        Put::Be64(1 << 40),
        Put::Buffer(b"pc-i440fx"),
    ];
    handle.put(&values)?;
    assert_eq!(handle.stream_position()?, 24);
    handle.rewind()?;
    let (mut magic, mut version, mut byte, mut long, mut name) = (0, 0, 0, 0, [0; 9]);
    handle.peek(&mut [Get::Be16(&mut version), Get::Byte(&mut byte)], 4)?;
    assert_eq!((version, byte, handle.stream_position()?), (3, 7, 0));
    handle.get(&mut [
        Get::Be32(&mut magic),
        Get::Be16(&mut version),
        Get::Byte(&mut byte),
        Get::Be64(&mut long),
        Get::Buffer(&mut name),
    ])?;
    assert_eq!((magic, version, byte, long), (0x5145_564d, 3, 7, 1 << 40));
    assert_eq!(&name, b"pc-i440fx");
    // The end is within the last record.
    handle.seek(SeekFrom::Start(4))?;
    let mut rest = [0; 100];
    let end = handle.get(&mut [Get::Be16(&mut version), Get::Buffer(&mut rest)]);
    let end = end.unwrap_err();
    assert_eq!((end.records, end.bytes), (1, 18));
    assert_eq!(end.source.reason(), Reason::EndOfStream);
    assert_eq!((version, rest[17]), (3, b'x'));
    assert_eq!(handle.latched_error()?, Some(5));
    let latched = handle.put(&[Put::Buffer(b"more")]).unwrap_err();
    assert_eq!((latched.records, latched.bytes), (0, 0));
    Ok(())
}

#[test]
fn skipping_says_how_much_there_was() -> Result {
    let stream = Stream::new()?;
    stream.write_all_at(&[0; 100], 0)?;
    let handle = stream.into_handle();
    assert_eq!(
        (handle.skip(60)?, handle.skip(60)?, handle.skip(60)?),
        (60, 40, 0)
    );
    Ok(())
}

#[test]
fn a_rate_is_asked_for_or_kept() -> Result {
    let mut handle = Stream::new()?.into_handle();
    assert_eq!(handle.rate()?.limit, RateLimit::Unlimited);
    handle.set_rate_limit(RateLimit::UntilReset(100))?;
    handle.write_all(&[0; 101])?;
    let rate = handle.rate()?;
    assert_eq!(
        (rate.limit, rate.xfer, rate.exceeded),
        (RateLimit::UntilReset(100), 101, true)
    );
    assert!(!handle.reset_rate_limit()?.exceeded);
    let rate = handle.set_rate_limit(RateLimit::PerSecond(1 << 20))?;
    assert_eq!(rate.limit, RateLimit::PerSecond(1 << 20));
    let start = Instant::now();
    handle.write_all(&[0; 400 << 10])?;
    // A tenth of a second's bytes are there at once.
    assert!(start.elapsed() >= Duration::from_millis(250));
    Ok(())
}

#[test]
fn hooks_are_those_of_memory() -> Result {
    let handle = Stream::new()?.into_handle();
    handle.ram_control(RamControl::BeforeIterate, 1)?;
    handle.ram_control(RamControl::AfterIterate, 1)?;
    assert_eq!(handle.save_page(0, 4096, 4096)?, PageSaved::NotSupported);
    assert_eq!(
        reason(handle.ram_control(RamControl::LoadHook, 1)),
        Reason::Invalid
    );
    assert_eq!(handle.latched_error()?, Some(22));
    Ok(())
}

#[test]
fn a_sealed_stream_is_a_slice() -> Result {
    let stream = Stream::new()?;
    stream.write_all_at(b"state", 0)?;
    assert!(stream.map_sealed().is_err());
    let raw = stream.map_raw_read_only()?;
    assert_eq!(raw.len(), 5);
    // The handle may write, so the mapping could be made writable.
    let busy = std::io::Error::from(stream.seal().unwrap_err());
    assert_eq!(busy.kind(), std::io::ErrorKind::ResourceBusy);
    drop(raw);
    stream.seal()?;
    assert!(stream.info()?.properties.contains(Properties::SEALED));
    assert_eq!(reason(stream.set_length(1)), Reason::Forbidden);
    let map = stream.map_sealed()?;
    drop(stream);
    assert_eq!(&map[..], b"state");
    Ok(())
}

#[test]
fn a_clone_of_ram_is_ram() -> Result {
    use vm_memory::{Bytes, MemoryRegionAddress};
    let stream = Stream::new()?;
    assert!(stream.map_ram().is_err(), "empty");
    stream.set_length(1 << 20)?;
    let ram = stream.map_ram()?;
    assert_eq!((ram.size(), stream.info()?.position), (1 << 20, 0));
    let region = |ram| vm_memory::GuestRegionMmap::new(ram, vm_memory::GuestAddress(0));
    let ram = region(ram).ok_or("no region")?;
    ram.write_obj(1u32, MemoryRegionAddress(4096))?;
    let clone = stream.clone_stream(BOTH, NONE)?.into_stream();
    ram.write_obj(2u32, MemoryRegionAddress(4096))?;
    let copy = region(clone.map_ram()?).ok_or("no region")?;
    drop(clone);
    assert_eq!(copy.read_obj::<u32>(MemoryRegionAddress(4096))?, 1);
    // Whoever may only read gets no RAM.
    let reader = stream.bufopen(Access::READ, NONE)?.into_stream();
    assert!(reader.map_ram().is_err());
    Ok(())
}

#[test]
fn properties_exclude_each_other() -> Result {
    let stream = Stream::new()?;
    stream.set_properties(Properties::APPEND | Properties::NOSHARE)?;
    assert_eq!(
        reason(stream.set_properties(Properties::DRAIN)),
        Reason::Forbidden
    );
    let reader = stream.bufopen(Access::READ, NONE)?;
    let clone = reader.stream().clone_stream(Access::READ, NONE);
    assert_eq!(reason(clone), Reason::Forbidden);
    assert_eq!(reason(reader.stream().seal()), Reason::NotOpenForThis);
    Ok(())
}

#[test]
fn a_stream_of_a_mount_gets_its_name_when_it_is_whole() -> Result {
    let name = mount().join("crate");
    let stream = Stream::new_in(mount())?;
    stream.write_all_at(b"whole", 0)?;
    assert!(!name.exists());
    stream.link(&name)?;
    assert_eq!(std::fs::read(&name)?, b"whole");
    assert_eq!(
        stream.link(&name).unwrap_err().kind(),
        std::io::ErrorKind::AlreadyExists
    );
    assert!(Stream::new()?.link(mount().join("other")).is_err());
    let reader = Stream::open(&name, Access::READ, NONE)?;
    assert_eq!(reader.info()?.access, Access::READ);
    std::fs::remove_file(&name)?;
    Ok(())
}

#[test]
fn a_qemu_file_is_over_a_stream() -> Result {
    let stream = Stream::new()?;
    let handle = stream.bufopen(Access::WRITE, NONE)?;
    let mut file = QemuFile::new(Fd::from(OwnedFd::from(handle)), Mode::Write);
    file.put_be32(0x5145_564d)?;
    file.put_buffer_at(&[7; 4096], 1 << 20)?;
    file.set_offset(SeekFrom::Start(100))?;
    file.put_counted_string("ram")?;
    file.fclose()?;
    assert_eq!(stream.info()?.length, (1 << 20) + 4096);
    assert_eq!(stream.info()?.allocated, 8192);
    let handle = stream.bufopen(Access::READ, NONE)?;
    drop(stream);
    let mut file = QemuFile::fdopen(handle.into(), "rb")?;
    assert_eq!(file.get_be32()?, 0x5145_564d);
    file.set_offset(SeekFrom::Start(100))?;
    assert_eq!(file.get_counted_string()?, b"ram");
    let mut page = [0; 4096];
    file.get_buffer_at(&mut page, 1 << 20)?;
    assert_eq!(page, [7; 4096]);
    Ok(())
}

#[tokio::test]
async fn the_reactor_waits_for_a_drained_stream() -> Result {
    let stream = Stream::new()?;
    stream.set_limit(Some(256 << 10))?;
    stream.set_properties(Properties::DRAIN)?;
    let mut reader = AsyncHandle::new(stream.bufopen(Access::READ, NONE)?)?;
    let mut writer = AsyncHandle::new(stream.bufopen(Access::WRITE, OpenFlags::NONBLOCK)?)?;
    drop(stream);
    let sent: Vec<u8> = (0..2_000_000u32).map(|i| (i >> 3) as u8).collect();
    let work = async {
        tokio::join!(
            async {
                writer.write_all(&sent).await?;
                drop(writer);
                std::io::Result::Ok(())
            },
            async {
                let mut have = Vec::new();
                reader.read_to_end(&mut have).await?;
                std::io::Result::Ok(have)
            }
        )
    };
    let (write, read) = tokio::time::timeout(Duration::from_secs(60), work).await?;
    write?;
    assert!(read? == sent);
    let handle: Handle = reader.into_inner();
    assert!(handle.stream().info()?.drained > 1_000_000);
    Ok(())
}
