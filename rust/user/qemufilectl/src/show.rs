// SPDX-License-Identifier: GPL-2.0

//! What the commands print.

use crate::{
    error::{Error, Result, Status},
    size::{human, human_or_none, human_or_unknown},
};
use comfy_table::{presets, CellAlignment, ContentArrangement, Table};
use qemufile::{Access, Info, Properties, Usage};
use serde::Serialize;
use std::io::{self, Write};

/// Prints a line. A reader that has gone away is no error.
pub(crate) fn line(text: impl AsRef<str>) -> Result {
    match writeln!(io::stdout(), "{}", text.as_ref()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::new(
            Status::Failed,
            format!("standard output: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Prints a value as JSON, on one line if `compact`.
pub(crate) fn json(value: &impl Serialize, compact: bool) -> Result {
    let text = match compact {
        true => serde_json::to_string(value),
        false => serde_json::to_string_pretty(value),
    };
    line(text.map_err(|error| Error::new(Status::Failed, error.to_string()))?)
}

/// A table without lines. Columns whose title begins with a `>` are aligned to the right.
pub(crate) fn table(titles: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Result {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(titles.iter().map(|title| title.trim_start_matches('>')));
    for row in rows {
        table.add_row(row);
    }
    for (index, title) in titles.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if title.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.lines().try_for_each(|text| line(text.trim_end()))
}

/// `title:  value` lines.
pub(crate) fn pairs(rows: &[(&str, String)]) -> Result {
    let width = rows.iter().map(|(title, _)| title.len()).max().unwrap_or(0) + 1;
    rows.iter()
        .try_for_each(|(title, value)| line(format!("{:<width$} {value}", format!("{title}:"))))
}

/// The names of properties, in lower case.
pub(crate) fn properties(properties: Properties) -> Vec<String> {
    properties
        .iter_names()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect()
}

/// The error of an error number, in words.
pub(crate) fn error(errno: Option<i32>) -> Option<String> {
    errno.map(|errno| io::Error::from_raw_os_error(errno).to_string())
}

/// What is known of a stream and one of its handles.
#[derive(Serialize)]
pub(crate) struct Stat {
    pub(crate) name: String,
    pub(crate) length: u64,
    /// `private` and `shared` together.
    pub(crate) memory: u64,
    /// What no other stream has: freed with this one.
    pub(crate) private: Option<u64>,
    /// What clones or pipes have as well.
    pub(crate) shared: Option<u64>,
    pub(crate) chunks: u64,
    pub(crate) drained: u64,
    pub(crate) limit: Option<u64>,
    /// Handles that are open for reading, without the one that this was asked by.
    pub(crate) readers: u32,
    /// Handles that are open for writing, without the one that this was asked by.
    pub(crate) writers: u32,
    pub(crate) properties: Vec<String>,
}

impl Stat {
    /// `own`: whether the handle was opened to ask, and does not count.
    pub(crate) fn new(name: String, info: &Info, own: bool) -> Self {
        Self::with_usage(name, info, None, own)
    }

    /// With whose its memory is, which takes time by the size of the stream.
    pub(crate) fn with_usage(name: String, info: &Info, usage: Option<Usage>, own: bool) -> Self {
        let less = |count: u32, access| count - u32::from(own && info.access.contains(access));
        Self {
            name,
            length: info.length,
            memory: info.allocated,
            private: usage.map(|usage| usage.private),
            shared: usage.map(|usage| usage.shared),
            chunks: info.chunks,
            drained: info.drained,
            limit: info.limit,
            readers: less(info.readers.max(1), Access::READ).min(info.readers),
            writers: less(info.writers.max(1), Access::WRITE).min(info.writers),
            properties: properties(info.properties),
        }
    }

    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("name", self.name.clone()),
            (
                "length",
                format!("{} ({})", self.length, human(self.length)),
            ),
            (
                "memory",
                format!(
                    "{} ({}), in {} chunks",
                    self.memory,
                    human(self.memory),
                    self.chunks
                ),
            ),
            ("own", human_or_unknown(self.private)),
            ("shared", human_or_unknown(self.shared)),
            ("limit", human_or_none(self.limit)),
            ("readers", self.readers.to_string()),
            ("writers", self.writers.to_string()),
            ("properties", none(self.properties.join(", "))),
        ];
        if self.drained > 0 {
            rows.push(("drained", human(self.drained)));
        }
        rows
    }
}

/// A dash for nothing.
pub(crate) fn none(text: String) -> String {
    match text.is_empty() {
        true => "-".into(),
        false => text,
    }
}
