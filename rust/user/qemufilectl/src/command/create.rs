// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl create`

use crate::{
    cli::Options,
    error::{Of, Result},
    names::{self, New},
    show,
    size::{parse_or_none, Limit},
};
use qemufile::Properties;

/// Makes an empty stream. It has its properties and its limit before its name.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The name
    name: String,
    /// The most bytes that it can hold
    #[arg(short, long, value_name = "SIZE", value_parser = parse_or_none)]
    limit: Option<Limit>,
    /// Owner, group and others, as for chmod
    #[arg(short, long, default_value = "600", value_parser = mode)]
    mode: u32,
    /// Existing bytes cannot change
    #[arg(long, conflicts_with = "drain")]
    append: bool,
    /// Bytes that all readers have read are freed
    #[arg(long)]
    drain: bool,
    /// Readers wait for those who only write
    #[arg(long)]
    follow: bool,
    /// Readers get copies, and cannot clone
    #[arg(long)]
    noshare: bool,
}

/// An octal mode.
pub(crate) fn mode(text: &str) -> std::result::Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("three octal digits, such as 640".into()),
    }
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let new = New::create(names::path(&args.name, options)?, false)?;
    if let Some(Limit(limit)) = args.limit {
        new.stream.set_limit(limit).of(&args.name)?;
    }
    let mut properties = Properties::empty();
    properties.set(Properties::APPEND, args.append);
    properties.set(Properties::DRAIN, args.drain);
    properties.set(Properties::FOLLOW, args.follow);
    properties.set(Properties::NOSHARE, args.noshare);
    new.stream.set_properties(properties).of(&args.name)?;
    new.set_mode(args.mode)?;
    let info = new.stream.info().of(&args.name)?;
    new.publish()?;
    match options.json {
        true => show::json(&show::Stat::new(args.name.clone(), &info, true), false),
        false => Ok(()),
    }
}
