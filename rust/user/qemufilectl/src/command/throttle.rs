// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl throttle`

use crate::{
    cli::Options,
    error::{Error, Of, Result, Status},
    names, open_files, show,
    size::{human, human_rate, parse_or_none, Limit},
};
use qemufile::{Handle, RateLimit};
use serde_json::{json, Value};

/// Shows or sets the rate of each handle that now writes the stream; the kernel keeps it. A rate is of
/// a handle and goes with it: whoever opens the stream later is not throttled. Needs the right to trace
/// the processes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The stream
    name: String,
    /// Bytes per second, or 'none'
    #[arg(value_parser = parse_or_none)]
    rate: Option<Limit>,
}

pub(crate) fn run(args: &Args, options: &Options) -> Result {
    // All are looked up before one is changed.
    let writers = writers(&args.name, options)?;
    let mut rows = Vec::new();
    for (pid, fd, command, handle) in &writers {
        let what = format!("{command}[{pid}]");
        let rate = match args.rate {
            Some(Limit(Some(rate))) => handle.set_rate_limit(RateLimit::PerSecond(rate)),
            Some(Limit(None)) => handle.set_rate_limit(RateLimit::Unlimited),
            None => handle.rate(),
        };
        let limit = rate.of(&what)?.limit;
        let (value, text) = match limit {
            RateLimit::Unlimited => (Value::Null, "-".into()),
            RateLimit::PerSecond(rate) => (rate.into(), human_rate(rate)),
            RateLimit::UntilReset(bytes) => {
                (Value::Null, format!("{} until it resets", human(bytes)))
            }
        };
        rows.push((
            json!({ "pid": pid, "fd": fd, "command": command, "rate": value }),
            vec![what, fd.to_string(), text],
        ));
    }
    match options.json {
        true => show::json(
            &rows.into_iter().map(|(json, _)| json).collect::<Vec<_>>(),
            false,
        ),
        false => show::table(
            &["PROCESS", ">FD", ">RATE"],
            rows.into_iter().map(|(_, row)| row),
        ),
    }
}

type Writer = (i32, i32, String, Handle);

/// The handles that write the stream.
fn writers(name: &str, options: &Options) -> Result<Vec<Writer>> {
    let opened = names::open_to_ask(name, options)?;
    let path = names::path(name, options)
        .ok()
        .and_then(|path| path.canonicalize().ok());
    if !opened.own {
        let (pid, fd) = name.split_once(':').unwrap_or_default();
        let number = |text: &str| text.parse().unwrap_or(0);
        let handle = opened.stream.into_handle();
        return Ok(vec![(number(pid), number(fd), String::new(), handle)]);
    }
    drop(opened);
    let mut writers = Vec::new();
    for file in open_files::all() {
        if !file.writes || Some(&file.link) != path.as_ref() {
            continue;
        }
        let Some(pid) = rustix::process::Pid::from_raw(file.pid) else {
            continue;
        };
        match names::handle_of(pid, file.fd) {
            Ok(handle) => writers.push((file.pid, file.fd, file.command, handle)),
            // It has ended meanwhile.
            Err(error) if error.status == Status::Name => (),
            Err(error) => return Err(error),
        }
    }
    if writers.is_empty() {
        return Err(Error::new(
            Status::Name,
            format!("{name}: no process that you may look at writes it"),
        ));
    }
    Ok(writers)
}
