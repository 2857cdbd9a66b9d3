// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl inspect`

use crate::{
    cli::Options,
    error::{Error, Of, Result, Status},
    migration::{Comparison, Stream},
    names, show,
    size::human,
};
use qemufile::{Access, OpenFlags, QemuFile};
use serde::Serialize;
use serde_json::Value;
use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
};

/// Reads a migration stream of QEMU and shows its machine, memory and devices. Compares them with
/// the description that QEMU puts at its end.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The stream, any file by its path, or - for standard input
    name: String,
    /// Print QEMU's description, as JSON
    #[arg(short, long)]
    description: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    stream: &'a Stream,
    /// `None` if QEMU has put no description.
    comparison: Option<Comparison>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a Value>,
}

/// The input: a stream, or any file.
fn input(name: &str, options: &Options) -> Result<OwnedFd> {
    if name == "-" {
        return io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .of("standard input");
    }
    if name.contains('/') {
        return Ok(File::open(name).of(name)?.into());
    }
    // Whoever writes it still is not waited for.
    let opened = names::open(name, Access::READ, options)?;
    let reader = opened
        .stream
        .bufopen(Access::READ, OpenFlags::NONBLOCK)
        .of(name)?;
    Ok(reader.into())
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let broken =
        |text: &dyn std::fmt::Display| Error::new(Status::Format, format!("{}: {text}", args.name));
    let file =
        QemuFile::fdopen(input(&args.name, options)?, "rb").map_err(|error| broken(&error))?;
    let stream = Stream::read(file).map_err(|error| broken(&error))?;
    let comparison = stream.compare();
    let first = comparison
        .as_ref()
        .and_then(|all| all.differences.first().cloned());
    if args.description && !options.json {
        match &stream.description {
            Some(description) => show::json(description, false)?,
            None => return Err(broken(&"QEMU has put no description into it")),
        }
    } else if options.json {
        let description = stream.description.as_ref().filter(|_| args.description);
        show::json(
            &Shown {
                stream: &stream,
                comparison,
                description,
            },
            false,
        )?;
    } else {
        print(&stream, comparison.as_ref())?;
    }
    match first {
        Some(difference) => Err(broken(&format_args!(
            "the description differs: {difference}"
        ))),
        None => Ok(()),
    }
}

fn print(stream: &Stream, comparison: Option<&Comparison>) -> Result {
    let parts: u64 = stream.sections.iter().map(|section| section.parts).sum();
    let mut rows = vec![
        ("version", stream.version.to_string()),
        (
            "machine",
            stream.machine.clone().unwrap_or_else(|| "-".into()),
        ),
        (
            "length",
            format!("{} ({})", stream.bytes, human(stream.bytes)),
        ),
    ];
    if !stream.capabilities.is_empty() {
        rows.push(("capabilities", stream.capabilities.join(", ")));
    }
    let names: Vec<_> = stream
        .sections
        .iter()
        .map(|section| section.name.as_str())
        .collect();
    rows.push((
        "sections",
        format!(
            "{} in {parts} parts, {} devices",
            names.join(", "),
            stream.devices.len()
        ),
    ));
    rows.push((
        "description",
        match comparison {
            None => "QEMU has put none".into(),
            Some(all) if all.differences.is_empty() => {
                format!("{} devices, each as in the stream", all.described)
            }
            Some(all) => all.differences.join("; "),
        },
    ));
    show::pairs(&rows)?;
    show::line("")?;
    show::table(
        &["MEMORY", ">SIZE", ">PAGES", ">ZERO", ">DELTA"],
        stream.blocks.iter().map(|block| {
            vec![
                block.name.clone(),
                human(block.size),
                block.pages.to_string(),
                block.zero_pages.to_string(),
                block.delta_pages.to_string(),
            ]
        }),
    )?;
    show::line("")?;
    show::table(
        &["DEVICE", ">INSTANCE", ">VERSION", ">BYTES"],
        stream.devices.iter().map(|device| {
            vec![
                device.name.clone(),
                device.instance.to_string(),
                device.version.to_string(),
                device.bytes.to_string(),
            ]
        }),
    )
}
