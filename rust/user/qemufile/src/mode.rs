// SPDX-License-Identifier: GPL-2.0

//! The mode strings that files are opened with.

use crate::{Error, Result};

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Getting values.
    Read,
    /// Putting values.
    Write,
}

impl Mode {
    /// The mode of a file: `"rb"` or `"wb"`; [`Error::INVALID`] for anything else.
    ///
    /// The twin of `qemu_file_mode_is_not_valid`, which says only whether it is one.
    pub fn of_file(mode: &str) -> Result<Self> {
        Self::of_buffer(mode.strip_suffix('b').ok_or(Error::INVALID)?)
    }

    /// The mode of a file over a buffer: `"r"` or `"w"`; [`Error::INVALID`] for anything else.
    pub fn of_buffer(mode: &str) -> Result<Self> {
        match mode {
            "r" => Ok(Self::Read),
            "w" => Ok(Self::Write),
            _ => Err(Error::INVALID),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_binary_modes() {
        assert_eq!(Mode::of_file("rb"), Ok(Mode::Read));
        assert_eq!(Mode::of_file("wb"), Ok(Mode::Write));
        for mode in ["", "b", "r", "w", "rw", "ab", "rb+", "r+b", "RB", "rb\0"] {
            assert_eq!(Mode::of_file(mode), Err(Error::INVALID));
        }
    }

    #[test]
    fn a_buffer_has_plain_modes() {
        assert_eq!(Mode::of_buffer("r"), Ok(Mode::Read));
        assert_eq!(Mode::of_buffer("w"), Ok(Mode::Write));
        for mode in ["", "rb", "wb", "rw", "a", "R", "r\0"] {
            assert_eq!(Mode::of_buffer(mode), Err(Error::INVALID));
        }
    }
}
