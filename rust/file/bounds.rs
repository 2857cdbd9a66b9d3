// SPDX-License-Identifier: GPL-2.0

//! The limits of a mount (memory and inodes), and the properties of its files.
//!
//! The options are `follow` and those options of tmpfs that apply here
//! (`Documentation/filesystems/tmpfs.rst`).

use crate::{
    stream::{
        Account,
        Home,
        Properties,
        Property,
        Stream, //
    },
    sys::{
        alloc::GFP_STREAM,
        fs::{
            Figures,
            Kgid,
            Kuid,
            Log,
            Owner,
            Parameter,
            Value, //
        },
        memory::total_ram,
        page::PAGE_SIZE, //
    },
};
use kernel::{
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    str::{
        parse_int::ParseInt,
        BStr, //
    },
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};

const PAGE: u64 = PAGE_SIZE as u64;

/// Default permissions of the root directory, without `mode=`: only the owner makes files.
const ROOT_MODE: u16 = 0o755;

const SIZE: u8 = 0;
const NR_INODES: u8 = 1;
const MODE: u8 = 2;
const USER: u8 = 3;
const GROUP: u8 = 4;
const FOLLOW: u8 = 5;

pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter::text(c"size", SIZE),
    Parameter::text(c"nr_inodes", NR_INODES),
    Parameter::octal(c"mode", MODE),
    Parameter::user(c"uid", USER),
    Parameter::group(c"gid", GROUP),
    Parameter::flag(c"follow", FOLLOW),
    Parameter::END,
];

/// The options of one mount or remount.
#[derive(Default)]
pub(crate) struct Options {
    size: Option<u64>,
    inodes: Option<u64>,
    mode: Option<u16>,
    user: Option<Kuid>,
    group: Option<Kgid>,
    follow: Option<bool>,
}

impl Options {
    /// Notes an option, by its number in [`PARAMETERS`]. `EINVAL` for an invalid value.
    pub(super) fn set(&mut self, log: &Log<'_>, option: u8, value: Value<'_>) -> Result {
        let text = value.text().map_or(&[][..], |text| text.to_bytes());
        match option {
            SIZE => {
                let size = parse_size(text, total_ram());
                self.size = Some(size.map_err(|_| log.refuse(c"Bad value for 'size'"))?);
            }
            NR_INODES => {
                let inodes = parse_count(text);
                self.inodes = Some(inodes.map_err(|_| log.refuse(c"Bad value for 'nr_inodes'"))?);
            }
            MODE => {
                let mode = u16::try_from(value.number()).ok();
                let mode = mode.filter(|mode| mode & !0o7777 == 0);
                self.mode = Some(mode.ok_or_else(|| log.refuse(c"Bad value for 'mode'"))?);
            }
            USER => self.user = Some(value.user()),
            GROUP => self.group = Some(value.group()),
            FOLLOW => self.follow = Some(value.is_set()),
            _ => return Err(EINVAL),
        }
        Ok(())
    }
}

/// A number with an optional suffix for a power of 1024. `EINVAL` if malformed or too large.
fn parse_count(text: &[u8]) -> Result<u64> {
    let (digits, shift) = match text.split_last() {
        Some((suffix, digits)) => match suffix.to_ascii_lowercase() {
            b'k' => (digits, 10),
            b'm' => (digits, 20),
            b'g' => (digits, 30),
            b't' => (digits, 40),
            b'p' => (digits, 50),
            b'e' => (digits, 60),
            _ => (text, 0),
        },
        None => return Err(EINVAL),
    };
    if !digits.first().is_some_and(u8::is_ascii_digit) {
        return Err(EINVAL);
    }
    u64::from_str(BStr::from_bytes(digits))?
        .checked_mul(1 << shift)
        .ok_or(EINVAL)
}

/// Bytes, or a percentage of the machine's memory, rounded up to whole pages.
fn parse_size(text: &[u8], ram: u64) -> Result<u64> {
    let size = match text.split_last() {
        Some((b'%', digits)) => ram.checked_mul(parse_count(digits)?).ok_or(EINVAL)? / 100,
        _ => parse_count(text)?,
    };
    size.checked_next_multiple_of(PAGE).ok_or(EINVAL)
}

/// Replaces 0 by "no limit".
fn or_unlimited(max: u64) -> u64 {
    match max {
        0 => u64::MAX,
        max => max,
    }
}

/// The limits of a mount, and what is in use.
pub(crate) struct Bounds {
    memory: Arc<Account>,
    inodes: Account,
    mode: u16,
    user: Option<Kuid>,
    group: Option<Kgid>,
    /// Whether new files are [`Property::Follow`].
    follow: Atomic<bool>,
}

impl Bounds {
    /// The bounds of a new mount. Its root directory is one inode. `ENOMEM`.
    ///
    /// Without options, half of the machine's memory, and an inode for each page of that.
    pub(super) fn new(options: &Options) -> Result<KBox<Self>> {
        let half = (total_ram() / 2).next_multiple_of(PAGE);
        let size = options.size.unwrap_or(half);
        let inodes = options.inodes.unwrap_or(half / PAGE);
        let bounds = Self {
            memory: Arc::new(Account::new(or_unlimited(size)), GFP_STREAM)?,
            inodes: Account::new(or_unlimited(inodes)),
            mode: options.mode.unwrap_or(ROOT_MODE),
            user: options.user,
            group: options.group,
            follow: Atomic::new(options.follow.unwrap_or(false)),
        };
        bounds.take_inode()?;
        Ok(KBox::new(bounds, GFP_STREAM)?)
    }

    /// Applies the options of a remount that can change: `size`, `nr_inodes`, and `follow` for new
    /// files. The others are ignored, as in tmpfs.
    ///
    /// `EINVAL` if more is in use than a new limit allows.
    pub(super) fn change(&self, options: &Options, log: &Log<'_>) -> Result {
        let size = options.size.map(or_unlimited);
        let inodes = options.inodes.map(or_unlimited);
        if size.is_some_and(|size| size < self.memory.held()) {
            return Err(log.refuse(c"Too small a size for current use"));
        }
        if inodes.is_some_and(|inodes| inodes < self.inodes.held()) {
            return Err(log.refuse(c"Too few inodes for current use"));
        }
        if let Some(size) = size {
            self.memory.set_max(size);
        }
        if let Some(inodes) = inodes {
            self.inodes.set_max(inodes);
        }
        if let Some(follow) = options.follow {
            self.follow.store(follow, Relaxed);
        }
        Ok(())
    }

    /// The root directory's permissions and owner.
    pub(super) fn root(&self) -> (u16, Owner) {
        let owner = Owner {
            user: self.user,
            group: self.group,
        };
        (self.mode, owner)
    }

    /// Shows the options for `/proc/mounts`, each after a comma.
    pub(super) fn show(&self, seq: &SeqFile) {
        let limit = |max| if max == u64::MAX { 0 } else { max };
        seq_print!(seq, ",size={}k", limit(self.memory.max()) / 1024);
        seq_print!(seq, ",nr_inodes={}", limit(self.inodes.max()));
        if self.mode != ROOT_MODE {
            seq_print!(seq, ",mode={:03o}", self.mode);
        }
        if let Some(user) = self.user {
            seq_print!(seq, ",uid={}", user.number());
        }
        if let Some(group) = self.group {
            seq_print!(seq, ",gid={}", group.number());
        }
        if self.follow.load(Relaxed) {
            seq_print!(seq, ",follow");
        }
    }

    /// The figures of `statfs(2)`. As in tmpfs, 0 stands for no limit.
    pub(super) fn figures(&self) -> Figures {
        let of = |account: &Account| match account.max() {
            u64::MAX => (0, 0),
            max => (max, max.saturating_sub(account.held())),
        };
        let (size, free) = of(&self.memory);
        let (inodes, free_inodes) = of(&self.inodes);
        Figures {
            blocks: size / PAGE,
            free_blocks: free / PAGE,
            inodes,
            free_inodes,
        }
    }

    /// Takes an inode. `ENOSPC` at the limit.
    pub(super) fn take_inode(&self) -> Result {
        match self.inodes.take(1) {
            0 => Err(ENOSPC),
            _ => Ok(()),
        }
    }

    /// Gives an inode back.
    pub(super) fn give_inode(&self) {
        self.inodes.give_back(1);
    }

    /// Makes the stream of a new file. `ENOMEM`.
    pub(super) fn new_stream(&self) -> Result<Arc<Stream>> {
        let properties = match self.follow.load(Relaxed) {
            true => Property::Follow.into(),
            false => Properties::empty(),
        };
        Stream::new(Home::Mount(self.memory.clone()), properties)
    }
}

#[kunit_tests(qemufile_file_bounds)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_suffixes() -> Result {
        assert_eq!(parse_count(b"0")?, 0);
        assert_eq!(parse_count(b"17")?, 17);
        assert_eq!(parse_count(b"4k")?, 4096);
        assert_eq!(parse_count(b"3G")?, 3 << 30);
        assert_eq!(parse_count(b"15e")?, 15 << 60);
        Ok(())
    }

    #[test]
    fn what_is_no_count_is_refused() {
        for text in [
            &b""[..],
            b"k",
            b"-1",
            b"+1",
            b" 1",
            b"1 ",
            b"1kk",
            b"1x",
            b"16e",
            b"18446744073709551616",
        ] {
            assert!(parse_count(text).is_err());
        }
    }

    #[test]
    fn sizes_are_whole_pages_or_a_share_of_the_memory() -> Result {
        assert_eq!(parse_size(b"1", 0)?, PAGE);
        assert_eq!(parse_size(b"8k", 0)?, 8192);
        assert_eq!(parse_size(b"50%", 1 << 30)?, 1 << 29);
        assert_eq!(parse_size(b"0%", 1 << 30)?, 0);
        assert!(parse_size(b"%", 1 << 30).is_err());
        assert!(parse_size(b"18446744073709551615", 0).is_err());
        Ok(())
    }
}
