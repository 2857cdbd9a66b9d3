// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The structs of `include/uapi/linux/qemufile.h`, and their flags. A test compares them with the
//! header.

/// Defines the structs, and lists their fields for the test.
macro_rules! structs {
    ($($(#[$doc:meta])* $name:ident = $c:literal { $($field:ident: $kind:ident,)* })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default)]
            pub(crate) struct $name {
                $(pub(crate) $field: $kind,)*
            }
        )*

        #[cfg(test)]
        pub(crate) const STRUCTS: &[(&str, usize, &[(&str, &str)])] = &[
            $((
                $c,
                std::mem::size_of::<$name>(),
                &[$((stringify!($kind), stringify!($field)),)*],
            ),)*
        ];
    };
}

structs! {
    /// `struct qemufile_info`
    Info = "info" {
        length: u64,
        allocated: u64,
        chunks: u64,
        drained: u64,
        limit: u64,
        position: u64,
        xfer: u64,
        rate_limit: u64,
        readers: u32,
        writers: u32,
        mode: u32,
        stream_flags: u32,
        error: i32,
        flags: u32,
    }
    /// `struct qemufile_length`
    Length = "length" {
        length: u64,
        flags: u32,
        reserved: u32,
    }
    /// `struct qemufile_extent`
    Extent = "extent" {
        start: u64,
        length: u64,
        kind: u32,
        flags: u32,
    }
    /// `struct qemufile_range`
    Range = "range" {
        start: u64,
        length: u64,
        flags: u32,
        reserved: u32,
    }
    /// `struct qemufile_diff`
    Diff = "diff" {
        start: u64,
        length: u64,
        fd: i32,
        flags: u32,
    }
    /// `struct qemufile_usage`
    Usage = "usage" {
        private_bytes: u64,
        shared_bytes: u64,
    }
    /// `struct qemufile_open`
    Open = "open" {
        mode: u32,
        flags: u32,
    }
    /// `struct qemufile_record`
    Record = "record" {
        type_: u32,
        flags: u32,
        value: u64,
        length: u64,
    }
    /// `struct qemufile_vector`
    Vector = "vector" {
        records: u64,
        count: u32,
        done: u32,
        offset: u64,
        flags: u32,
        reserved: u32,
    }
    /// `struct qemufile_skip`
    Skip = "skip" {
        length: u64,
        flags: u32,
        reserved: u32,
    }
    /// `struct qemufile_error`
    Latched = "error" {
        error: i32,
        flags: u32,
    }
    /// `struct qemufile_rate`
    Rate = "rate" {
        limit: u64,
        xfer: u64,
        op: u32,
        flags: u32,
        exceeded: u32,
        reserved: u32,
    }
    /// `struct qemufile_limit`
    Limit = "limit" {
        limit: u64,
        flags: u32,
        reserved: u32,
    }
    /// `struct qemufile_flags`
    Flags = "flags" {
        set: u32,
        flags: u32,
    }
    /// `struct qemufile_ram_control`
    RamControl = "ram_control" {
        hook_flags: u64,
        op: u32,
        flags: u32,
    }
    /// `struct qemufile_save_page`
    SavePage = "save_page" {
        block_offset: u64,
        offset: u64,
        size: u64,
        bytes_sent: u64,
        result: i32,
        flags: u32,
    }
}

bitflags::bitflags! {
    /// Access of a handle: `QEMUFILE_MODE_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Access: u32 {
        /// For reading: QEMU's `"r"`.
        const READ = 1 << 0;
        /// For writing: QEMU's `"w"`.
        const WRITE = 1 << 1;
    }

    /// Properties of a stream: `QEMUFILE_STREAM_*`. A property can be set, and not cleared.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Properties: u32 {
        /// Writes at the end only.
        const APPEND = 1 << 0;
        /// No more changes.
        const SEALED = 1 << 1;
        /// Bytes that all read-only handles have passed are freed.
        const DRAIN = 1 << 2;
        /// Read-only handles get copies, not pages.
        const NOSHARE = 1 << 3;
        /// The readers of a file with a name wait for those who only write.
        const FOLLOW = 1 << 4;
    }

    /// Flags of a new handle: `QEMUFILE_OPEN_*`. The descriptor is close-on-exec in any case.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct OpenFlags: u32 {
        /// `O_NONBLOCK`
        const NONBLOCK = 1 << 0;
        /// `O_APPEND`
        const APPEND = 1 << 1;
    }
}

/// `QEMUFILE_EXTENT_HOLE`
pub(crate) const EXTENT_HOLE: u32 = 1;

/// `QEMUFILE_RATE_*`
pub(crate) const RATE_GET: u32 = 0;
pub(crate) const RATE_SET: u32 = 1;
pub(crate) const RATE_RESET: u32 = 2;
/// `QEMUFILE_RATE_KEEP`
pub(crate) const RATE_KEEP: u32 = 1;

/// `QEMUFILE_BYTE` to `QEMUFILE_BUFFER`
pub(crate) const BYTE: u32 = 0;
pub(crate) const BE16: u32 = 1;
pub(crate) const BE32: u32 = 2;
pub(crate) const BE64: u32 = 3;
pub(crate) const BUFFER: u32 = 4;

/// `QEMUFILE_SAVE_PAGE_NOT_SUPP`
pub(crate) const SAVE_PAGE_NOT_SUPP: i32 = -1000;
/// `QEMUFILE_SAVE_PAGE_DELAYED`
pub(crate) const SAVE_PAGE_DELAYED: i32 = -2000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::CALLS;

    const HEADER: &str = include_str!("qemufile.h");

    fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
        let (_, rest) = text.split_once(begin)?;
        Some(rest.split_once(end)?.0)
    }

    #[test]
    fn the_structs_are_those_of_the_header() {
        for (name, size, fields) in STRUCTS {
            let body = between(HEADER, &format!("struct qemufile_{name} {{"), "};")
                .unwrap_or_else(|| panic!("no struct qemufile_{name}"));
            let lines: Vec<_> = body.lines().filter(|line| line.contains("__")).collect();
            assert_eq!(lines.len(), fields.len(), "{name}");
            let mut expected = 0;
            for (line, (kind, field)) in lines.iter().zip(*fields) {
                let (prefix, bytes) = match *kind {
                    "u64" => ("__u64", 8),
                    "u32" => ("__u32", 4),
                    _ => ("__s32", 4),
                };
                let field = field.trim_end_matches('_');
                assert_eq!(line.trim(), format!("{prefix} {field};"), "{name}");
                // Nothing is padded.
                assert_eq!(expected % bytes, 0, "{name}.{field}");
                expected += bytes;
            }
            assert_eq!(*size, expected, "{name}");
        }
        assert_eq!(HEADER.matches("\nstruct qemufile_").count(), STRUCTS.len());
    }

    #[test]
    fn the_numbers_are_those_of_the_header() {
        for (name, direction, number, of, _) in CALLS {
            let of = STRUCTS.iter().find(|(_, size, _)| size == of);
            let line = HEADER
                .lines()
                .find(|line| line.contains(&format!("{name} = ")))
                .unwrap_or_else(|| panic!("no {name}"));
            let direction = match *direction {
                "read" => "_IOR",
                "write" => "_IOW",
                _ => "_IOWR",
            };
            let call = format!("{direction}(QEMUFILE_IOC_MAGIC, {number:#04x}, struct qemufile_");
            assert!(line.contains(&call), "{line} is not {call}");
            let named = between(line, "struct qemufile_", ")").unwrap_or_default();
            let size = STRUCTS.iter().find(|(name, _, _)| *name == named);
            assert_eq!(size.map(|s| s.1), of.map(|s| s.1), "{name}");
        }
        assert_eq!(HEADER.matches("\tQEMUFILE_IOC_").count(), CALLS.len());
    }

    #[test]
    fn the_flags_are_those_of_the_header() {
        let flag = |name: &str| {
            let shift = between(HEADER, &format!("#define {name}\t"), ")");
            let shift = shift.and_then(|text| text.trim().strip_prefix("(1U << "));
            let shift: u32 = shift.and_then(|shift| shift.parse().ok()).unwrap_or(99);
            1u32.checked_shl(shift).unwrap_or(0)
        };
        for (name, access) in Access::all().iter_names() {
            assert_eq!(flag(&format!("QEMUFILE_MODE_{name}")), access.bits());
        }
        for (name, property) in Properties::all().iter_names() {
            assert_eq!(flag(&format!("QEMUFILE_STREAM_{name}")), property.bits());
        }
        for (name, open) in OpenFlags::all().iter_names() {
            assert_eq!(flag(&format!("QEMUFILE_OPEN_{name}")), open.bits());
        }
        assert_eq!(flag("QEMUFILE_RATE_KEEP"), RATE_KEEP);
        for (name, value) in [
            ("EXTENT_HOLE", "1"),
            ("RATE_GET", "0"),
            ("RATE_SET", "1"),
            ("RATE_RESET", "2"),
            ("BYTE", "0"),
            ("BE16", "1"),
            ("BE32", "2"),
            ("BE64", "3"),
            ("BUFFER", "4"),
            ("SAVE_PAGE_NOT_SUPP", "(-1000)"),
            ("SAVE_PAGE_DELAYED", "(-2000)"),
        ] {
            let text = between(HEADER, &format!("#define QEMUFILE_{name}\t"), "\n");
            let text = text.and_then(|text| text.split_whitespace().next());
            assert_eq!(text, Some(value), "{name}");
        }
    }
}
