// SPDX-License-Identifier: GPL-2.0

//! Sizes as people write and read them.

const UNITS: [(&str, u32); 4] = [("T", 40), ("G", 30), ("M", 20), ("K", 10)];

/// Parses a size: digits, and K, M, G or T, also as KiB; in bytes.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.to_ascii_uppercase();
    let unit = unit
        .strip_suffix("IB")
        .or(unit.strip_suffix("B"))
        .unwrap_or(&unit);
    let shift = match unit {
        "" => Some(0),
        unit => UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, shift)| *shift),
    };
    let number: Option<u64> = number.parse().ok();
    shift
        .zip(number)
        .and_then(|(shift, number)| number.checked_mul(1 << shift))
        .ok_or_else(|| "a size is digits, and K, M, G or T: 512M".into())
}

/// Parses a size, or `none`.
pub(crate) fn parse_or_none(text: &str) -> Result<Limit, String> {
    match text {
        "none" => Ok(Limit(None)),
        text => match parse(text)? {
            0 => Err("0 is no limit: say 'none'".into()),
            size => Ok(Limit(Some(size))),
        },
    }
}

/// A size, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) Option<u64>);

/// A size with a unit.
pub(crate) fn human(bytes: u64) -> String {
    for (name, shift) in UNITS {
        let unit = 1u64 << shift;
        if bytes >= unit {
            // The remainder is less than the unit, and so is ten times it less than 2^64.
            let (whole, tenth) = (bytes / unit, bytes % unit * 10 / unit);
            return format!("{whole}.{tenth} {name}iB");
        }
    }
    format!("{bytes} B")
}

/// A size with a unit, or a dash.
pub(crate) fn human_or_none(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".into(), human)
}

/// A size with a unit, or a question mark.
pub(crate) fn human_or_unknown(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "?".into(), human)
}

/// A rate with a unit.
pub(crate) fn human_rate(bytes: u64) -> String {
    format!("{}/s", human(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, size) in [
            ("0", 0),
            ("4096", 4096),
            ("1k", 1024),
            ("512M", 512 << 20),
            ("3GiB", 3 << 30),
            ("2TB", 2 << 40),
        ] {
            assert_eq!(parse(text), Ok(size), "{text}");
        }
        for text in ["", "M", "-1", "1.5G", "1X", "99999999999T", "1 M"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse_or_none("none"), Ok(Limit(None)));
        assert!(parse_or_none("0").is_err());
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(human(0), "0 B");
        assert_eq!(human(1023), "1023 B");
        assert_eq!(human(1536), "1.5 KiB");
        assert_eq!(human(25 << 20), "25.0 MiB");
        assert_eq!(human(u64::MAX), "16777215.9 TiB");
    }
}
