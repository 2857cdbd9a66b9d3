// SPDX-License-Identifier: GPL-2.0

//! Reading ahead.

use kernel::prelude::*;

/// Up to `N` bytes read ahead: QEMU's `buf`, `buf_index` and `buf_size` of a file open for reading.
pub struct ReadAhead<const N: usize> {
    bytes: [u8; N],
    len: usize,
    /// The backend position of the first byte.
    pos: u64,
}

impl<const N: usize> ReadAhead<N> {
    /// Makes an empty one.
    pub const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
            pos: 0,
        }
    }

    /// Copies bytes from position `pos` on to `buf`. Returns the number of bytes: 0 at the end
    /// only.
    ///
    /// If no bytes are held there, `fill` is called with free room and the backend position for it.
    /// It returns the number of bytes it got: 0 at the end only. Bytes from position `keep` on are
    /// kept, because a backend that cannot seek back may have to return them. `keep` is at most
    /// `pos`.
    ///
    /// The twin of `qemu_fill_buffer`. Unlike in QEMU, a full buffer is not the end. Fails with
    /// [`EINVAL`] if `pos` is `N` bytes or more after `keep`, and with the errors of `fill`.
    #[inline]
    pub fn get(
        &mut self,
        buf: &mut [u8],
        pos: u64,
        keep: u64,
        mut fill: impl FnMut(&mut [u8], u64) -> Result<usize>,
    ) -> Result<usize> {
        loop {
            let ahead = self.from(pos);
            if !ahead.is_empty() || buf.is_empty() {
                return Ok(copy(ahead, buf));
            }
            self.keep_from(keep);
            let next = self.pos.saturating_add(self.len as u64);
            let room = self.bytes.get_mut(self.len..).unwrap_or_default();
            if room.is_empty() {
                return Err(EINVAL);
            }
            match fill(room, next)?.min(room.len()) {
                0 => return Ok(0),
                filled => self.len += filled,
            }
        }
    }

    /// The bytes held from position `pos` on.
    #[inline]
    pub fn from(&self, pos: u64) -> &[u8] {
        let offset = pos.checked_sub(self.pos).map(usize::try_from);
        match offset {
            Some(Ok(offset)) => self.bytes.get(offset..self.len).unwrap_or_default(),
            _ => &[],
        }
    }

    /// Drops the bytes before position `pos`; drops all bytes if none is held at `pos`.
    fn keep_from(&mut self, pos: u64) {
        let len = self.from(pos).len();
        if len > 0 {
            self.bytes.copy_within(self.len - len..self.len, 0);
        }
        self.len = len;
        self.pos = pos;
    }
}

/// Copies as many bytes as fit. Returns the number of bytes.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let len = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..len), to.get_mut(..len)) {
        to.copy_from_slice(from);
    }
    len
}

#[cfg(CONFIG_KUNIT = "y")]
#[kunit_tests(qemufile_qemu_file_ahead)]
mod tests {
    use super::*;

    /// Copies from `BYTES` at `pos`.
    fn fill(room: &mut [u8], pos: u64) -> Result<usize> {
        const BYTES: &[u8] = b"migration";
        let pos = usize::try_from(pos)?;
        Ok(copy(BYTES.get(pos..).unwrap_or_default(), room))
    }

    fn never(_: &mut [u8], _: u64) -> Result<usize> {
        Err(EIO)
    }

    #[test]
    fn bytes_are_read_once() -> Result {
        let mut ahead = ReadAhead::<4>::new();
        let mut bytes = [0; 3];
        assert_eq!(ahead.get(&mut bytes, 0, 0, fill)?, 3);
        assert_eq!(&bytes, b"mig");
        assert_eq!(ahead.get(&mut bytes, 1, 0, never)?, 3);
        assert_eq!(&bytes, b"igr");
        assert_eq!(ahead.get(&mut bytes, 3, 3, never)?, 1);
        assert_eq!(ahead.get(&mut bytes, 4, 3, fill)?, 3);
        assert_eq!(&bytes, b"ati");
        // The byte before was kept.
        assert_eq!(ahead.get(&mut bytes, 3, 3, never)?, 3);
        assert_eq!(&bytes, b"rat");
        assert_eq!(ahead.from(7), b"");
        Ok(())
    }

    #[test]
    fn a_place_is_within_reach_or_einval() -> Result {
        let mut ahead = ReadAhead::<4>::new();
        let mut bytes = [0; 3];
        assert_eq!(ahead.get(&mut bytes, 3, 0, fill)?, 1);
        assert_eq!(ahead.get(&mut bytes, 4, 0, fill), Err(EINVAL));
        assert_eq!(ahead.get(&mut bytes, 4, 1, fill)?, 1);
        // Any position, for a backend that can seek.
        assert_eq!(ahead.get(&mut bytes, 7, 7, fill)?, 2);
        assert_eq!(ahead.get(&mut bytes, 0, 0, fill)?, 3);
        assert_eq!(ahead.get(&mut bytes, 9, 9, fill)?, 0);
        assert_eq!(ahead.get(&mut [], 100, 0, never)?, 0);
        assert_eq!(ahead.get(&mut bytes, 100, 100, never), Err(EIO));
        Ok(())
    }
}
