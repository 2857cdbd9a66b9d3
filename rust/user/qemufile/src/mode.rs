// SPDX-License-Identifier: GPL-2.0

//! The mode strings that files are opened with.

use kernel::prelude::*;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Getting values.
    Read,
    /// Putting values.
    Write,
}

impl Mode {
    /// The mode of a file: `"rb"` or `"wb"`; [`EINVAL`] for anything else.
    ///
    /// The twin of `qemu_file_mode_is_not_valid`, which says only whether it is one.
    pub fn of_file(mode: &[u8]) -> Result<Self> {
        match mode {
            [mode @ .., b'b'] => Self::of_buffer(mode),
            _ => Err(EINVAL),
        }
    }

    /// The mode of a file over a buffer: `"r"` or `"w"`; [`EINVAL`] for anything else.
    pub fn of_buffer(mode: &[u8]) -> Result<Self> {
        match mode {
            b"r" => Ok(Self::Read),
            b"w" => Ok(Self::Write),
            _ => Err(EINVAL),
        }
    }
}

#[kunit_tests(qemufile_qemu_file_mode)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_binary_modes() {
        assert_eq!(Mode::of_file(b"rb"), Ok(Mode::Read));
        assert_eq!(Mode::of_file(b"wb"), Ok(Mode::Write));
        for mode in [
            &b""[..],
            b"b",
            b"r",
            b"w",
            b"rw",
            b"ab",
            b"rb+",
            b"r+b",
            b"RB",
            b"rb\0",
        ] {
            assert_eq!(Mode::of_file(mode), Err(EINVAL));
        }
    }

    #[test]
    fn a_buffer_has_plain_modes() {
        assert_eq!(Mode::of_buffer(b"r"), Ok(Mode::Read));
        assert_eq!(Mode::of_buffer(b"w"), Ok(Mode::Write));
        for mode in [&b""[..], b"rb", b"wb", b"rw", b"a", b"R", b"r\0"] {
            assert_eq!(Mode::of_buffer(mode), Err(EINVAL));
        }
    }
}
