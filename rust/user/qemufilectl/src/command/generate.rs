// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl generate`: the man page and the completions, from the definition of the command line.

use crate::{
    cli::{self, Options},
    error::{Error, Of, Result, Status},
};
use clap_complete::Shell;
use clap_mangen::Man;
use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

/// Writes qemufilectl.1, qemufilectl.bash, _qemufilectl (zsh) and qemufilectl.fish to a folder.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder; it has to exist
    folder: PathBuf,
}

pub(crate) fn run(args: &Args, _: &Options) -> Result {
    let name = "qemufilectl";
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut command = cli::definition();
        clap_complete::generate_to(shell, &mut command, name, &args.folder)
            .of_path(&args.folder)?;
    }
    let page = page().of_path(&args.folder)?;
    let path = args.folder.join("qemufilectl.1");
    fs::write(&path, page)
        .map_err(|error| Error::new(Status::Failed, format!("{}: {error}", path.display())))
}

/// One page of all commands.
fn page() -> io::Result<Vec<u8>> {
    // Built, the commands have the options of all of them, and their usage.
    let command = cli::definition();
    let mut built = command.clone();
    built.build();
    let man = Man::new(command.clone())
        .title("qemufilectl")
        .section("1")
        .manual("qemufile");
    let mut out = Vec::new();
    writeln!(out, ".\\\" SPDX-License-Identifier: GPL-2.0")?;
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    writeln!(
        out,
        ".SH SYNOPSIS\n\\fBqemufilectl\\fR [\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIARG\\fR]..."
    )?;
    writeln!(
        out,
        ".SH DESCRIPTION\nA stream is the state of a virtual machine in memory, in a file of a mounted \
         file system of the type qemufile, or behind a descriptor of /dev/qemufile.\n\
         .PP\nA command takes a name on the mount, a path (with a slash), or \\fIPID\\fR:\\fIFD\\fR \
         for a descriptor of a process: for this one has to have the right to trace the process.\n\
         .PP\nWhat a command makes appears at once and whole, or not at all."
    )?;
    man.render_options_section(&mut out)?;
    writeln!(out, ".SH COMMANDS")?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let usage = built.find_subcommand(sub.get_name()).map(usage);
        writeln!(out, ".SS {}", usage.unwrap_or_default())?;
        let man = Man::new(sub.clone());
        let mut text = Vec::new();
        man.render_description_section(&mut text)?;
        man.render_options_section(&mut text)?;
        // Of the sections of a page, those of this section remain.
        for line in String::from_utf8_lossy(&text).lines() {
            let is_head = [".SH", ".ie ", ".el "]
                .iter()
                .any(|head| line.starts_with(head));
            if !is_head {
                writeln!(out, "{line}")?;
            }
        }
    }
    writeln!(out, ".SH EXIT STATUS")?;
    for status in crate::error::Status::ALL {
        writeln!(out, ".TP\n.B {}\n{}", *status as u8, status.meaning())?;
    }
    write!(out, "{}", include_str!("../../man/end.roff"))?;
    Ok(out)
}

fn usage(sub: &clap::Command) -> String {
    let text = sub.clone().render_usage().to_string();
    let text = text
        .trim_start_matches("Usage: ")
        .trim_start_matches("qemufilectl ");
    text.replace('-', "\\-")
}
