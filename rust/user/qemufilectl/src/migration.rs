// SPDX-License-Identifier: GPL-2.0

//! What a migration stream of QEMU holds, read with the crate's [`QemuFile`].
//!
//! The format has no lengths of sections. The memory (`ram`) is read record by record. The end of any
//! other section is its footer, the byte 0x7e and the section's number, before the head of another
//! section. At the end of most streams QEMU describes its devices in JSON (*vmdesc*), with the size
//! of each field. [`Stream::compare`] holds one against the other.
//!
//! The file is long because a format is one thing: what is read, compared and shown of it, and streams
//! for the tests.
//!
//! Sources: QEMU's `migration/savevm.c`, `ram.c` and `vmstate.c`, of version 10.

use qemufile::{Backend, Buffer, Error, Mode, QemuFile};
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeMap, fmt, io::SeekFrom};

/// `QEMU_VM_FILE_MAGIC`, "QEVM"
pub(crate) const MAGIC: u32 = 0x5145_564d;
/// `QEMU_VM_FILE_VERSION`
const VERSION: u32 = 3;

// The kinds of sections: `QEMU_VM_*`.
const END_OF_FILE: u8 = 0;
const SECTION_START: u8 = 1;
const SECTION_PART: u8 = 2;
const SECTION_END: u8 = 3;
const SECTION_FULL: u8 = 4;
const SUBSECTION: u8 = 5;
const DESCRIPTION: u8 = 6;
const CONFIGURATION: u8 = 7;
const COMMAND: u8 = 8;
const FOOTER: u8 = 0x7e;

/// `MIG_CMD_PACKAGED`: the length in the command is followed by another one.
const PACKAGED: u16 = 8;

// What a record of the memory is: `RAM_SAVE_FLAG_*`.
const ZERO: u64 = 0x02;
const MEM_SIZE: u64 = 0x04;
const PAGE: u64 = 0x08;
const END_OF_SECTION: u64 = 0x10;
const CONTINUE: u64 = 0x20;
const XBZRLE: u64 = 0x40;
const MULTIFD_FLUSH: u64 = 0x200;

/// The most bytes of a machine's name, and of a description, that are believed.
const MAX_NAME: u32 = 4096;
const MAX_DESCRIPTION: u32 = 64 << 20;

/// A stream that cannot be read: where, in bytes, and why.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) offset: u64,
    pub(crate) what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.what)
    }
}

type Result<T = ()> = std::result::Result<T, Broken>;

/// A block of the guest's memory.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Block {
    pub(crate) name: String,
    /// In bytes.
    pub(crate) size: u64,
    /// Pages in the stream. One that was sent twice counts twice.
    pub(crate) pages: u64,
    /// Pages of zeros, one byte each.
    pub(crate) zero_pages: u64,
    /// Pages as the difference to what was sent before (XBZRLE).
    pub(crate) delta_pages: u64,
}

/// A section that is sent in parts, such as the memory.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) instance: u32,
    pub(crate) version: u32,
    pub(crate) parts: u64,
    /// Of its parts without heads and footers; with mapped-ram, without pages.
    pub(crate) bytes: u64,
}

/// A device: a section that is sent at once.
#[derive(Debug, Serialize)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) instance: u32,
    pub(crate) version: u32,
    /// Of its state.
    pub(crate) bytes: u64,
}

/// What a stream holds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Stream {
    pub(crate) version: u32,
    pub(crate) machine: Option<String>,
    /// The capabilities that change the format.
    pub(crate) capabilities: Vec<String>,
    pub(crate) page_size: u64,
    pub(crate) bytes: u64,
    pub(crate) sections: Vec<Section>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) devices: Vec<Device>,
    pub(crate) commands: u64,
    #[serde(skip)]
    pub(crate) description: Option<Value>,
}

/// QEMU's description of its devices, held against the stream.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Comparison {
    /// The number of devices that QEMU describes.
    pub(crate) described: usize,
    /// How the stream differs.
    pub(crate) differences: Vec<String>,
}

impl Stream {
    /// Reads a stream.
    pub(crate) fn read<B: Backend>(file: QemuFile<'_, B>) -> Result<Self> {
        let mut parser = Parser::new(file);
        parser.read()?;
        // With mapped-ram, not what was read. A pipe has no offset.
        let read = parser.file.ftell_fast();
        let end = parser.file.get_offset().unwrap_or(read);
        parser.stream.bytes = end + u64::from(parser.is_over);
        Ok(parser.stream)
    }

    /// Reads the head alone: the machine and the capabilities. `start` is what the stream begins with.
    pub(crate) fn head(start: Vec<u8>) -> Result<Self> {
        let mut parser = Parser::new(QemuFile::new(Buffer::from(start), Mode::Read));
        parser.magic()?;
        Ok(parser.stream)
    }

    /// Compares the devices with QEMU's description. `None` if there is none.
    pub(crate) fn compare(&self) -> Option<Comparison> {
        let described = self.description.as_ref()?.get("devices")?.as_array()?;
        let mut differences = Vec::new();
        if let Some(size) = self
            .description
            .as_ref()
            .and_then(|all| number(all, "page_size"))
        {
            if size != self.page_size {
                differences.push(format!(
                    "pages of {} bytes, described are {size}",
                    self.page_size
                ));
            }
        }
        if described.len() != self.devices.len() {
            let text = format!(
                "{} devices, described are {}",
                self.devices.len(),
                described.len()
            );
            differences.push(text);
        }
        for (have, want) in self.devices.iter().zip(described) {
            let name = want.get("name").and_then(Value::as_str).unwrap_or_default();
            let instance = number(want, "instance_id").unwrap_or(0);
            if (have.name.as_str(), u64::from(have.instance)) != (name, instance) {
                let text = format!(
                    "{} {} where {name} {instance} is described",
                    have.name, have.instance
                );
                differences.push(text);
                // All others would be in other places, too.
                break;
            }
            if let Some(version) = number(want, "version") {
                if version != u64::from(have.version) {
                    differences.push(format!(
                        "{name}: version {}, described is {version}",
                        have.version
                    ));
                }
            }
            let size = described_size(want);
            if size != have.bytes {
                differences.push(format!(
                    "{name}: {} bytes, described are {size}",
                    have.bytes
                ));
            }
        }
        Some(Comparison {
            described: described.len(),
            differences,
        })
    }
}

fn number(value: &Value, name: &str) -> Option<u64> {
    value.get(name)?.as_u64()
}

/// The bytes of a device or a subsection, by its description: fields, then subsections, each with a
/// byte, a name and a version before it. The size of a field counts all that is in it.
fn described_size(of: &Value) -> u64 {
    let list = |name| of.get(name).and_then(Value::as_array).into_iter().flatten();
    let fields = list("fields").map(|field| {
        let times = number(field, "array_len").unwrap_or(1);
        number(field, "size").unwrap_or(0).saturating_mul(times)
    });
    let subsections = list("subsections").map(|sub| {
        let name = sub
            .get("vmsd_name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        described_size(sub).saturating_add(1 + 1 + name.len() as u64 + 4)
    });
    fields.chain(subsections).fold(0, u64::saturating_add)
}

struct Parser<'a, B: Backend> {
    file: QemuFile<'a, B>,
    stream: Stream,
    /// Index of the block of the last page.
    block: Option<usize>,
    /// The sections that are sent in parts: index by number.
    numbers: BTreeMap<u32, usize>,
    /// Whether nothing follows the mark of the end, which is the next byte.
    is_over: bool,
}

impl<'a, B: Backend> Parser<'a, B> {
    fn new(file: QemuFile<'a, B>) -> Self {
        Self {
            file,
            stream: Stream {
                page_size: 4096,
                ..Stream::default()
            },
            block: None,
            numbers: BTreeMap::new(),
            is_over: false,
        }
    }

    fn broken<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(Broken {
            offset: self.file.ftell_fast(),
            what: what.into(),
        })
    }

    /// The result of a get.
    fn got<T>(&self, result: std::result::Result<T, Error>) -> Result<T> {
        match result {
            Ok(value) => Ok(value),
            Err(Error::IO) => self.broken("the stream ends too early"),
            Err(Error::AGAIN) => self.broken("the rest is still being written"),
            Err(error) => self.broken(error.to_string()),
        }
    }

    fn byte(&mut self) -> Result<u8> {
        let result = self.file.get_byte();
        self.got(result)
    }

    fn be16(&mut self) -> Result<u16> {
        let result = self.file.get_be16();
        self.got(result)
    }

    fn be32(&mut self) -> Result<u32> {
        let result = self.file.get_be32();
        self.got(result)
    }

    fn be64(&mut self) -> Result<u64> {
        let result = self.file.get_be64();
        self.got(result)
    }

    fn next_is(&mut self, value: u8) -> Result<bool> {
        let result = self.file.peek_byte(0);
        Ok(self.got(result)? == value)
    }

    fn name(&mut self) -> Result<String> {
        let result = self.file.get_counted_string();
        Ok(text(&self.got(result)?))
    }

    fn bytes(&mut self, len: u32, most: u32) -> Result<Vec<u8>> {
        if len > most {
            return self.broken(format!("a length of {len} bytes"));
        }
        let mut bytes = vec![0; len as usize];
        let result = self.file.get_buffer(&mut bytes);
        match self.got(result)? == bytes.len() {
            true => Ok(bytes),
            false => self.broken("the stream ends too early"),
        }
    }

    fn skip(&mut self, len: u64) -> Result {
        let result = self.file.skip(len);
        match self.got(result)? == len {
            true => Ok(()),
            false => self.broken("the stream ends too early"),
        }
    }

    /// Up to the first section.
    fn magic(&mut self) -> Result {
        if self.be32()? != MAGIC {
            return Err(Broken {
                offset: 0,
                what: "this is not a migration stream of QEMU: it does not begin with QEVM".into(),
            });
        }
        self.stream.version = self.be32()?;
        if self.stream.version != VERSION {
            return self.broken(format!("version {} of the format", self.stream.version));
        }
        if self.next_is(CONFIGURATION)? {
            self.configuration()?;
        }
        Ok(())
    }

    /// `qemu_loadvm_state`
    fn read(&mut self) -> Result {
        self.magic()?;
        loop {
            if self.is_over {
                return Ok(());
            }
            match self.byte()? {
                END_OF_FILE => break,
                SECTION_START => self.start()?,
                SECTION_PART | SECTION_END => self.part()?,
                SECTION_FULL => self.full()?,
                COMMAND => self.command()?,
                kind => return self.broken(format!("a section of the unknown kind {kind:#04x}")),
            }
        }
        match self.file.get_byte() {
            Ok(DESCRIPTION) => {
                let len = self.be32()?;
                let text = self.bytes(len, MAX_DESCRIPTION)?;
                match serde_json::from_slice(&text) {
                    Ok(value) => self.stream.description = Some(value),
                    Err(error) => return self.broken(format!("QEMU's description: {error}")),
                }
                Ok(())
            }
            Ok(kind) => self.broken(format!("{kind:#04x} after the end")),
            Err(Error::IO | Error::AGAIN) => Ok(()),
            Err(error) => self.broken(error.to_string()),
        }
    }

    /// `vmstate_configuration`
    fn configuration(&mut self) -> Result {
        self.byte()?;
        let len = self.be32()?;
        self.stream.machine = Some(text(&self.bytes(len, MAX_NAME)?));
        while self.next_is(SUBSECTION)? {
            self.byte()?;
            let name = self.name()?;
            self.be32()?;
            match name.as_str() {
                "configuration/capabilities" => {
                    for _ in 0..self.be32()? {
                        let name = self.name()?;
                        self.stream.capabilities.push(name);
                    }
                }
                "configuration/target-page-bits" => match self.be32()? {
                    bits @ 10..=20 => self.stream.page_size = 1 << bits,
                    bits => return self.broken(format!("pages of {bits} bits")),
                },
                "configuration/x-validate-uuid" | "configuration/uuid" => self.skip(16)?,
                name => return self.broken(format!("the unknown subsection {name}")),
            }
        }
        Ok(())
    }

    fn has(&self, capability: &str) -> bool {
        self.stream
            .capabilities
            .iter()
            .any(|name| name == capability)
    }

    /// The head of a section with a name: number, name, instance, version.
    fn head(&mut self) -> Result<(u32, String, u32, u32)> {
        Ok((self.be32()?, self.name()?, self.be32()?, self.be32()?))
    }

    fn start(&mut self) -> Result {
        let (id, name, instance, version) = self.head()?;
        self.numbers.insert(id, self.stream.sections.len());
        self.stream.sections.push(Section {
            name,
            id,
            instance,
            version,
            parts: 0,
            bytes: 0,
        });
        self.content(id)
    }

    fn part(&mut self) -> Result {
        let id = self.be32()?;
        self.content(id)
    }

    /// What a section that is sent in parts holds, and its footer.
    fn content(&mut self, id: u32) -> Result {
        let index = self.numbers.get(&id).copied();
        let is_memory = index
            .and_then(|index| self.stream.sections.get(index))
            .map(|section| section.name == "ram");
        let start = self.file.ftell_fast();
        let bytes = match is_memory {
            None => return self.broken(format!("a part of section {id}, which has not begun")),
            Some(true) => {
                self.memory()?;
                let bytes = self.file.ftell_fast().saturating_sub(start);
                self.footer(id)?;
                bytes
            }
            Some(false) => self.pass_to_footer(id)?,
        };
        let section = index.and_then(|index| self.stream.sections.get_mut(index));
        if let Some(section) = section {
            section.parts += 1;
            section.bytes = section.bytes.saturating_add(bytes);
        }
        Ok(())
    }

    fn full(&mut self) -> Result {
        let (id, name, instance, version) = self.head()?;
        let bytes = self.pass_to_footer(id)?;
        self.stream.devices.push(Device {
            name,
            id,
            instance,
            version,
            bytes,
        });
        Ok(())
    }

    fn footer(&mut self, id: u32) -> Result {
        match (self.byte()?, self.be32()?) {
            (FOOTER, footer) if footer == id => Ok(()),
            _ => self.broken(format!("section {id} does not end here")),
        }
    }

    /// Passes what a section holds, and its footer. Returns the bytes before the footer.
    fn pass_to_footer(&mut self, id: u32) -> Result<u64> {
        let start = self.file.ftell_fast();
        let want = (u64::from(FOOTER) << 32) | u64::from(id);
        let mut last = 0;
        loop {
            last = ((last << 8) | u64::from(self.byte()?)) & 0xff_ffff_ffff;
            let passed = self.file.ftell_fast().saturating_sub(start);
            if last == want && passed >= 5 && self.is_at_a_head()? {
                return Ok(passed - 5);
            }
        }
    }

    /// Whether a section can begin here. Looks at no byte that the stream may not have, but for the
    /// one after the mark of the end.
    fn is_at_a_head(&mut self) -> Result<bool> {
        let mut head = [0; 10];
        let kind = self.file.peek_byte(0);
        Ok(match self.got(kind)? {
            // Bytes of a device, zeros above all, may look like a footer and this mark. The mark is
            // followed by QEMU's description, or by nothing.
            END_OF_FILE => match self.file.peek_byte(1) {
                Ok(kind) => kind == DESCRIPTION,
                Err(Error::IO) => {
                    // The error stays in the file: nothing can be read after this.
                    self.is_over = true;
                    true
                }
                Err(Error::AGAIN) => true,
                Err(error) => return self.broken(error.to_string()),
            },
            COMMAND => true,
            SECTION_PART | SECTION_END => {
                let got = self.file.peek_buffer(&mut head[..4], 1);
                self.got(got)?;
                let [a, b, c, d, ..] = head;
                self.numbers.contains_key(&u32::from_be_bytes([a, b, c, d]))
            }
            SECTION_START | SECTION_FULL => {
                let got = self.file.peek_buffer(&mut head[..6], 1);
                self.got(got)?;
                let [_, _, _, _, len, first, ..] = head;
                len > 0 && first.is_ascii_graphic()
            }
            _ => false,
        })
    }

    /// `loadvm_process_command`
    fn command(&mut self) -> Result {
        let (command, len) = (self.be16()?, self.be16()?);
        self.stream.commands += 1;
        if command == PACKAGED && len == 4 {
            let len = self.be32()?;
            return self.skip(len.into());
        }
        self.skip(len.into())
    }

    /// `ram_load`: records up to the end of the section.
    fn memory(&mut self) -> Result {
        loop {
            let word = self.be64()?;
            let flags = word & (self.stream.page_size - 1).min(0x3ff);
            let kind = flags & !CONTINUE;
            match kind {
                END_OF_SECTION => return Ok(()),
                MULTIFD_FLUSH => continue,
                MEM_SIZE => {
                    self.blocks(word & !(self.stream.page_size - 1))?;
                    continue;
                }
                ZERO | PAGE | XBZRLE => (),
                _ => return self.broken(format!("a record of memory with the flags {flags:#x}")),
            }
            if flags & CONTINUE == 0 {
                let name = self.name()?;
                self.block = self
                    .stream
                    .blocks
                    .iter()
                    .position(|block| block.name == name);
            }
            match kind {
                ZERO => self.skip(1)?,
                PAGE => self.skip(self.stream.page_size)?,
                _ => {
                    self.byte()?;
                    let len = self.be16()?;
                    self.skip(len.into())?;
                }
            }
            let block = self
                .block
                .and_then(|block| self.stream.blocks.get_mut(block));
            let Some(block) = block else {
                return self.broken("a page of a block that there is not");
            };
            match kind {
                ZERO => block.zero_pages += 1,
                PAGE => block.pages += 1,
                _ => block.delta_pages += 1,
            }
        }
    }

    /// `ram_save_setup`: the names and sizes of the blocks, `total` bytes together.
    fn blocks(&mut self, total: u64) -> Result {
        let mut left = total;
        while left > 0 {
            let name = self.name()?;
            let size = self.be64()?;
            left = match left.checked_sub(size) {
                Some(left) if size > 0 => left,
                _ => return self.broken(format!("the block {name} with a size of {size}")),
            };
            if self.has("x-ignore-shared") {
                self.be64()?;
            }
            let mut block = Block {
                name,
                size,
                ..Block::default()
            };
            if self.has("mapped-ram") {
                block.pages = self.mapped_pages(size)?;
            }
            self.stream.blocks.push(block);
        }
        Ok(())
    }

    /// `mapped_ram_setup_ramblock`: the pages are at their places, and a bitmap says which. Returns
    /// how many, and goes on after them.
    fn mapped_pages(&mut self, size: u64) -> Result<u64> {
        let (_version, page_size) = (self.be32()?, self.be64()?);
        let (bitmap, pages) = (self.be64()?, self.be64()?);
        if page_size != self.stream.page_size {
            return self.broken(format!("pages of {page_size} bytes"));
        }
        let bits = size / page_size;
        let mut left = bits.div_ceil(64).saturating_mul(8);
        let (mut at, mut count) = (bitmap, 0);
        let mut buf = [0; 4096];
        while left > 0 {
            let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
            let part = buf.get_mut(..len).unwrap_or_default();
            let result = self.file.get_buffer_at(part, at);
            count += part
                .iter()
                .map(|byte| u64::from(byte.count_ones()))
                .sum::<u64>();
            self.got(result)?;
            left -= len as u64;
            at = at.saturating_add(len as u64);
        }
        let next = pages.saturating_add(size);
        let result = self.file.set_offset(SeekFrom::Start(next));
        match result {
            Ok(()) => Ok(count),
            Err(_) => {
                self.broken("mapped-ram can be inspected in a stream or a file, not in a pipe")
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    type Test = std::result::Result<(), Error>;

    fn head(file: &mut QemuFile<'_, Buffer>) -> Test {
        file.put_be32(MAGIC)?;
        file.put_be32(VERSION)?;
        file.put_byte(CONFIGURATION)?;
        file.put_be32(2)?;
        file.put_buffer(b"pc")?;
        Ok(())
    }

    fn section(file: &mut QemuFile<'_, Buffer>, kind: u8, id: u32, name: &str) -> Test {
        file.put_byte(kind)?;
        file.put_be32(id)?;
        file.put_counted_string(name)?;
        file.put_be32(0)?;
        file.put_be32(4)
    }

    fn footer(file: &mut QemuFile<'_, Buffer>, id: u32) -> Test {
        file.put_byte(FOOTER)?;
        file.put_be32(id)
    }

    fn memory(file: &mut QemuFile<'_, Buffer>) -> Test {
        section(file, SECTION_START, 2, "ram")?;
        file.put_be64((3 << 12) | MEM_SIZE)?;
        file.put_counted_string("pc.ram")?;
        file.put_be64(2 << 12)?;
        file.put_counted_string("vga")?;
        file.put_be64(1 << 12)?;
        file.put_be64(END_OF_SECTION)?;
        footer(file, 2)?;
        file.put_byte(SECTION_END)?;
        file.put_be32(2)?;
        file.put_be64(ZERO)?;
        file.put_counted_string("pc.ram")?;
        file.put_byte(0)?;
        file.put_be64((1 << 12) | PAGE | CONTINUE)?;
        file.put_buffer(&[0x7e; 4096])?;
        file.put_be64(PAGE)?;
        file.put_counted_string("vga")?;
        file.put_buffer(&[1; 4096])?;
        file.put_be64(END_OF_SECTION)?;
        footer(file, 2)
    }

    fn device(file: &mut QemuFile<'_, Buffer>) -> Test {
        section(file, SECTION_FULL, 7, "timer")?;
        // It holds what looks like its footer, also with the mark of the end after it.
        footer(file, 7)?;
        file.put_be32(u32::MAX)?;
        footer(file, 7)?;
        file.put_be16(u16::from(END_OF_FILE))?;
        footer(file, 7)?;
        file.put_byte(END_OF_FILE)
    }

    fn describe(file: &mut QemuFile<'_, Buffer>, size: u64) -> Test {
        let text = json!({ "page_size": 4096, "devices": [{
            "name": "timer", "instance_id": 0, "vmsd_name": "timer", "version": 4,
            "fields": [{ "name": "a", "size": 1, "array_len": 3 }, { "name": "b", "size": size }],
        }]})
        .to_string();
        file.put_byte(DESCRIPTION)?;
        file.put_be32(text.len() as u32)?;
        file.put_buffer(text.as_bytes())?;
        Ok(())
    }

    fn read(mut file: QemuFile<'_, Buffer>) -> Result<Stream> {
        let bytes = file.buf_get().unwrap_or_default().to_vec();
        Stream::read(QemuFile::new(Buffer::from(bytes), Mode::Read))
    }

    fn whole(size: u64) -> std::result::Result<QemuFile<'static, Buffer>, Error> {
        let mut file = QemuFile::bufopen("w", Vec::new())?;
        head(&mut file)?;
        memory(&mut file)?;
        device(&mut file)?;
        describe(&mut file, size)?;
        Ok(file)
    }

    #[test]
    fn a_stream_is_taken_apart() -> Test {
        let stream = match read(whole(13)?) {
            Ok(stream) => stream,
            Err(broken) => panic!("{broken}"),
        };
        assert_eq!(stream.machine.as_deref(), Some("pc"));
        let [ram, vga] = &stream.blocks[..] else {
            panic!("{:?}", stream.blocks);
        };
        assert_eq!((ram.size, ram.pages, ram.zero_pages), (8192, 1, 1));
        assert_eq!((vga.size, vga.pages, vga.zero_pages), (4096, 1, 0));
        assert_eq!((stream.sections.len(), stream.devices.len()), (1, 1));
        assert_eq!(
            (stream.devices[0].bytes, stream.devices[0].version),
            (16, 4)
        );
        let comparison = stream.compare().unwrap_or_default();
        assert_eq!((comparison.described, comparison.differences.len()), (1, 0));
        Ok(())
    }

    #[test]
    fn a_difference_to_the_description_is_told() -> Test {
        let comparison = read(whole(14)?).ok().and_then(|stream| stream.compare());
        let differences = comparison.unwrap_or_default().differences;
        assert_eq!(differences, ["timer: 16 bytes, described are 17"]);
        Ok(())
    }

    #[test]
    fn each_cut_is_told_and_none_is_a_panic() -> Test {
        let mut file = whole(13)?;
        let bytes = file.buf_get()?.to_vec();
        let after_devices = bytes.len() - 200;
        for len in (0..80).chain(bytes.len() - 300..bytes.len()) {
            let cut = QemuFile::new(Buffer::from(bytes[..len].to_vec()), Mode::Read);
            match Stream::read(cut) {
                Err(broken) => assert!(broken.offset <= len as u64),
                // The description may be missing, as a whole.
                Ok(stream) => assert!(stream.description.is_none() && len > after_devices),
            }
        }
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0x55;
            let _ = Stream::read(QemuFile::new(Buffer::from(wrong), Mode::Read));
        }
        Ok(())
    }

    #[test]
    fn another_file_is_not_a_stream() {
        let file = QemuFile::new(Buffer::from(b"#!/bin/sh\n".to_vec()), Mode::Read);
        let broken = Stream::read(file).err().map(|broken| broken.to_string());
        assert!(broken.is_some_and(|text| text.contains("not a migration stream")));
    }
}
