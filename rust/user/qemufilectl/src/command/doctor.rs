// SPDX-License-Identifier: GPL-2.0

//! `qemufilectl doctor`

use crate::{
    cli::Options,
    error::{Error, Result, Status},
    names, show,
};
use qemufile::Stream;
use rustix::fs::Access as May;
use serde::Serialize;
use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

/// Checks this machine, a line each: what there is, and what to do.
#[derive(clap::Args)]
pub(crate) struct Args {}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// It works, and could be better.
    Note,
    /// It does not work.
    Bad,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    text: String,
    /// What to do.
    advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Ok,
            text: text.into(),
            advice: None,
        }
    }

    fn but(
        name: &'static str,
        verdict: Verdict,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            name,
            verdict,
            text: text.into(),
            advice: Some(advice.into()),
        }
    }
}

const MODULE: &str = "/sys/module/qemufile";
const GROUP: &str = "qemufile";

pub(crate) fn run(_: &Args, options: &Options) -> Result {
    let checks = [
        module(),
        tool(),
        secure_boot(),
        device(),
        group(),
        mount(options),
        cgroup(),
    ];
    if options.json {
        show::json(&checks, false)?;
    } else {
        for check in &checks {
            let verdict = match check.verdict {
                Verdict::Ok => "ok",
                Verdict::Note => "note",
                Verdict::Bad => "BAD",
            };
            let advice = check.advice.as_ref().map(|advice| format!(": {advice}"));
            let advice = advice.unwrap_or_default();
            show::line(format!(
                "{verdict:<5} {:<12} {}{advice}",
                check.name, check.text
            ))?;
        }
    }
    let bad = checks
        .iter()
        .filter(|check| check.verdict == Verdict::Bad)
        .count();
    match bad {
        0 => Ok(()),
        bad => Err(Error::new(
            Status::NotSetUp,
            format!("{bad} of {} checks are bad", checks.len()),
        )),
    }
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

fn module() -> Check {
    let name = "module";
    let release = release();
    if !Path::new(MODULE).exists() {
        let installed = ["updates/dkms", "updates", "extra"].iter().any(|folder| {
            ["ko", "ko.xz", "ko.zst", "ko.gz"].iter().any(|end| {
                Path::new(&format!("/lib/modules/{release}/{folder}/qemufile.{end}")).exists()
            })
        });
        return match installed {
            true => Check::but(
                name,
                Verdict::Bad,
                "installed, and not loaded",
                "modprobe qemufile",
            ),
            false => Check::but(
                name,
                Verdict::Bad,
                format!("there is none for the running kernel {release}"),
                "install it for this kernel, or boot a kernel that it is installed for",
            ),
        };
    }
    let version = read(format!("{MODULE}/version")).map(|version| format!(" {version}"));
    let state = read(format!("{MODULE}/initstate")).filter(|state| state != "live");
    match state {
        Some(state) => Check::but(name, Verdict::Bad, format!("it is {state}"), "see dmesg"),
        None => Check::ok(
            name,
            format!("loaded{}, in kernel {release}", version.unwrap_or_default()),
        ),
    }
}

/// Whether module and tool know the same calls.
fn tool() -> Check {
    let (name, version) = ("tool", env!("CARGO_PKG_VERSION"));
    match Stream::new().map(|stream| stream.info()) {
        Ok(Err(error)) => Check::but(
            name,
            Verdict::Bad,
            format!("version {version}: {error}"),
            "install module and tool of one version",
        ),
        Ok(Ok(_)) => Check::ok(
            name,
            format!("version {version}; the module knows its calls"),
        ),
        Err(_) => Check::ok(name, format!("version {version}")),
    }
}

fn secure_boot() -> Check {
    let name = "secure boot";
    let variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    // Four bytes of attributes, and the value.
    let on = fs::read(variable).is_ok_and(|bytes| bytes.get(4) == Some(&1));
    let loaded = Path::new(MODULE).exists();
    let enforced = read("/sys/module/module/parameters/sig_enforce").as_deref() == Some("Y");
    let lockdown = read("/sys/kernel/security/lockdown").unwrap_or_default();
    let locked = lockdown.contains("[integrity]") || lockdown.contains("[confidentiality]");
    match (on || enforced || locked, loaded) {
        (false, _) => Check::ok(name, "off: the kernel loads modules without a signature"),
        (true, true) => Check::ok(name, "on, and the kernel has accepted the module"),
        (true, false) => Check::but(
            name,
            Verdict::Note,
            "on: the kernel loads signed modules only",
            "enrol the key that the module is signed with (mokutil --import /var/lib/dkms/mok.pub), and boot again",
        ),
    }
}

fn device() -> Check {
    let name = "device";
    let Ok(metadata) = fs::metadata(qemufile::DEVICE) else {
        return match Path::new(MODULE).exists() {
            true => Check::but(
                name,
                Verdict::Bad,
                format!("there is no {}", qemufile::DEVICE),
                "in a container, pass the node in; else see dmesg",
            ),
            false => Check::but(
                name,
                Verdict::Note,
                "there is none without the module",
                "see above",
            ),
        };
    };
    let text = format!(
        "{}: mode {:04o}, owner {}, group {}",
        qemufile::DEVICE,
        metadata.mode() & 0o7777,
        metadata.uid(),
        group_of(metadata.gid())
    );
    match Stream::new() {
        Ok(_) => Check::ok(name, format!("{text}; you can open it")),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Check::but(
            name,
            Verdict::Note,
            format!("{text}; you may not open it"),
            "be root or in its group; names on a mount need no access to the device",
        ),
        Err(error) => Check::but(name, Verdict::Bad, format!("{text}: {error}"), "see dmesg"),
    }
}

/// The lines of `/etc/group`, as name, number, members.
fn groups() -> Vec<(String, u32, Vec<String>)> {
    let text = read("/etc/group").unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let id = fields.nth(1)?.parse().ok()?;
        let members = fields.next().unwrap_or_default().split(',');
        Some((name, id, members.map(str::to_owned).collect()))
    };
    text.lines().filter_map(line).collect()
}

fn group_of(id: u32) -> String {
    let found = groups().into_iter().find(|(_, other, _)| *other == id);
    found.map_or_else(|| id.to_string(), |(name, _, _)| name)
}

fn group() -> Check {
    let name = "group";
    let Some((_, id, _)) = groups().into_iter().find(|(name, _, _)| name == GROUP) else {
        return Check::but(
            name,
            Verdict::Note,
            format!("there is no group {GROUP}"),
            "groupadd --system qemufile, and a udev rule, let others than root use the device",
        );
    };
    let mine = rustix::process::getgroups().unwrap_or_default();
    let member =
        rustix::process::getegid().as_raw() == id || mine.iter().any(|gid| gid.as_raw() == id);
    match (member, rustix::process::geteuid().is_root()) {
        (true, _) => Check::ok(name, format!("you are in the group {GROUP}")),
        (_, true) => Check::ok(name, format!("there is a group {GROUP}; you are root")),
        _ => Check::but(
            name,
            Verdict::Note,
            format!("you are not in the group {GROUP}"),
            "usermod --append --groups qemufile USER, and log in again",
        ),
    }
}

fn mount(options: &Options) -> Check {
    let name = "mount";
    let mounts = match &options.mount {
        Some(mount) => names::mounts()
            .into_iter()
            .filter(|other| other == mount)
            .collect(),
        None => names::mounts(),
    };
    let Some(mount) = mounts.first() else {
        return Check::but(
            name,
            Verdict::Bad,
            "no file system of streams is mounted",
            "mount -t qemufile qemufile /run/qemufile, or systemctl enable --now run-qemufile.mount",
        );
    };
    let room = rustix::fs::statvfs(mount).map(|stat| {
        let bytes = |blocks: u64| crate::size::human(blocks.saturating_mul(stat.f_frsize));
        match stat.f_blocks {
            0 => "no bound of its own".to_owned(),
            blocks => format!("{} of {} free", bytes(stat.f_bavail), bytes(blocks)),
        }
    });
    let text = format!("{}: {}", mount.display(), room.unwrap_or_default());
    match rustix::fs::access(mount, May::WRITE_OK | May::EXEC_OK) {
        Ok(()) => Check::ok(name, text),
        Err(_) => Check::but(
            name,
            Verdict::Note,
            format!("{text}; you may not make names in it"),
            "mount it with mode= and gid= for your group",
        ),
    }
}

fn cgroup() -> Check {
    let name = "memory";
    let root = "/sys/fs/cgroup";
    let Some(controllers) = read(format!("{root}/cgroup.controllers")) else {
        return Check::but(
            name,
            Verdict::Note,
            "there is no unified cgroup hierarchy",
            "the memory of streams is bounded by the mount's size= and by max_user_bytes only",
        );
    };
    if !controllers
        .split(' ')
        .any(|controller| controller == "memory")
    {
        return Check::but(
            name,
            Verdict::Note,
            "no memory cgroups",
            "boot without cgroup_disable=memory, so that streams count for who writes them",
        );
    }
    let own = read("/proc/self/cgroup").unwrap_or_default();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or("/")
        .to_owned();
    // The bound may be one of a cgroup above.
    let limit = Path::new(&own).ancestors().find_map(|cgroup| {
        let cgroup = cgroup.strip_prefix("/").unwrap_or(cgroup);
        let limit = read(Path::new(root).join(cgroup).join("memory.max"))?;
        limit.parse::<u64>().ok()
    });
    Check::ok(
        name,
        match limit {
            Some(limit) => format!(
                "cgroup {own}: at most {}, of it also streams",
                crate::size::human(limit)
            ),
            None => format!("cgroup {own}: no limit; streams count for the cgroup of who writes"),
        },
    )
}
