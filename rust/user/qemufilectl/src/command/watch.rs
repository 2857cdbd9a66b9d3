// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl watch`

use crate::{
    cli::Options,
    error::{Error, Result, Status},
    names, show,
    size::{human, human_rate},
};
use qemufile::Info;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Shows a stream once each interval, with what was written and drained since the last line. Ends
/// with Ctrl-C, after COUNT lines, or with the stream.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The stream
    name: String,
    /// Seconds between two lines
    #[arg(short, long, default_value = "1", value_parser = interval)]
    interval: Duration,
    /// End after so many lines
    #[arg(short, long)]
    count: Option<u64>,
}

fn interval(text: &str) -> std::result::Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "seconds, such as 0.5".to_string())?;
    match (0.01..=86_400.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("0.01 to 86400 seconds".into()),
    }
}

#[derive(Serialize)]
struct Line {
    length: u64,
    memory: u64,
    /// Bytes per second that the stream became longer.
    written_rate: u64,
    /// Bytes per second that were drained.
    drained_rate: u64,
    readers: u32,
    writers: u32,
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    let mut last: Option<(Instant, Info)> = None;
    let mut lines = 0u64;
    if !options.json {
        show::line(format!(
            "{:>12} {:>12} {:>14} {:>14} {:>7} {:>7}",
            "LENGTH", "MEMORY", "WRITTEN", "DRAINED", "READERS", "WRITERS"
        ))?;
    }
    loop {
        // Opened anew, so that no handle holds back what others wait for.
        let opened = match names::open_to_ask(&args.name, options) {
            Err(error) if lines > 0 && error.status == Status::Name => {
                return Err(Error::new(
                    Status::Name,
                    format!("{}: it is gone", args.name),
                ));
            }
            opened => opened?,
        };
        let info = opened.info()?;
        let now = Instant::now();
        let rate = |value: fn(&Info) -> u64| {
            last.as_ref().map_or(0, |(then, old)| {
                let seconds = now.duration_since(*then).as_secs_f64().max(0.001);
                // The cast stops at the largest number.
                (value(&info).saturating_sub(value(old)) as f64 / seconds) as u64
            })
        };
        let stat = show::Stat::new(String::new(), &info, opened.own);
        let line = Line {
            length: info.length,
            memory: info.allocated,
            written_rate: rate(|info| info.length),
            drained_rate: rate(|info| info.drained),
            readers: stat.readers,
            writers: stat.writers,
        };
        drop(opened);
        match options.json {
            true => show::json(&line, true)?,
            false => show::line(format!(
                "{:>12} {:>12} {:>14} {:>14} {:>7} {:>7}",
                human(line.length),
                human(line.memory),
                human_rate(line.written_rate),
                human_rate(line.drained_rate),
                line.readers,
                line.writers
            ))?,
        }
        last = Some((now, info));
        lines += 1;
        if args.count.is_some_and(|count| lines >= count) {
            return Ok(());
        }
        std::thread::sleep(args.interval);
    }
}
