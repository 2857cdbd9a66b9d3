// SPDX-License-Identifier: GPL-2.0

//! Calls for regular files only: `fallocate(2)`, `FICLONE`, `FICLONERANGE`, `copy_file_range(2)`.

use super::Handle;
use crate::sys::{
    file::FileExt,
    file_operations::{
        Allocate,
        Remap, //
    }, //
};
use core::ops::Range;
use kernel::{
    fs::File,
    prelude::*,
    sync::Arc, //
};

impl Handle {
    /// `fallocate(2)`
    pub(crate) fn allocate(&self, file: &File, what: Allocate, range: Range<u64>) -> Result {
        let writer = self.stream().lock_for_writing()?;
        let grows = match what {
            Allocate::Reserve { keep_size } | Allocate::Zero { keep_size } => {
                !keep_size && range.end > writer.len()
            }
            Allocate::Punch => false,
        };
        if grows {
            file.write_limit(i64::try_from(range.end - 1)?, 1)?;
        }
        match what {
            Allocate::Reserve { keep_size } => writer.reserve(range, keep_size),
            Allocate::Punch => writer.punch(range),
            Allocate::Zero { keep_size } => writer.zero(range, keep_size),
        }
    }

    /// `FICLONE`, `FICLONERANGE`, and `copy_file_range(2)` where it can share pages.
    pub(crate) fn remap(&self, file: &File, source: &Handle, what: Remap) -> Result<u64> {
        let Remap { from, to, len } = what;
        let (bytes, drained) = source.stream().snapshot(source.access())?;
        if from < drained {
            return Err(ENXIO);
        }
        let len = match len {
            0 => bytes.len().checked_sub(from).ok_or(EINVAL)?,
            len => len,
        };
        let (from_end, to_end) = (from.saturating_add(len), to.saturating_add(len));
        let overlap = from < to_end && to < from_end;
        if Arc::ptr_eq(self.stream(), source.stream()) && overlap {
            return Err(EINVAL);
        }
        if len == 0 {
            return Ok(0);
        }
        let wanted = usize::try_from(len)?;
        let writer = self.stream().lock_for_writing()?;
        if writer.room(to, wanted, true)?.bytes < wanted {
            return Err(ENOSPC);
        }
        if file.write_limit(i64::try_from(to)?, wanted)? < wanted {
            return Err(EFBIG);
        }
        writer.share(to, bytes, from, len)?;
        Ok(len)
    }
}
