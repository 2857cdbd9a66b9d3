// SPDX-License-Identifier: GPL-2.0

//! The guest of a running QEMU, and what a save of it has to put back: `park` and `fork`.

use crate::{
    error::{Error, Result, Status},
    qmp::{FdSet, Migration, Qmp, TICK},
    stop::Stop,
};
use qemufile::Stream;
use serde_json::{json, Map, Value};
use std::time::{Duration, Instant};

/// How long a cancelled migration may take to end.
const CANCEL: Duration = Duration::from_secs(30);
/// QEMU's default is 128 MiB/s, for a network.
pub(crate) const FAST: u64 = 1 << 40;

/// What has to be put back.
pub(crate) struct Before {
    /// Whether the guest ran.
    pub(crate) running: bool,
    parameters: Map<String, Value>,
    /// Those that were changed, as `migrate-set-capabilities` takes them.
    capabilities: Vec<Value>,
}

impl Before {
    /// Fails if there is no guest to save.
    pub(crate) fn of(qmp: &mut Qmp) -> Result<Self> {
        let socket = qmp.name().to_owned();
        let failed = |text: String| Err(Error::new(Status::Qemu, format!("{socket}: {text}")));
        if qmp.version < (8, 2) {
            let (major, minor) = qmp.version;
            return failed(format!(
                "QEMU {major}.{minor} cannot save to a file: 8.2 can"
            ));
        }
        let (running, state) = qmp.status()?;
        if state == "postmigrate" {
            return failed("the guest was saved already: 'cont' lets it run on".into());
        }
        if matches!(state.as_str(), "inmigrate" | "finish-migrate" | "shutdown") {
            return failed(format!("there is no guest to save: its state is {state}"));
        }
        if !qmp.migration()?.is_over() {
            return failed("a migration is under way already: 'migrate_cancel' ends it".into());
        }
        let all = qmp.call("query-migrate-parameters", json!({}))?;
        let mut parameters = Map::new();
        for name in ["max-bandwidth", "mode"] {
            if let Some(value) = all.get(name) {
                parameters.insert(name.into(), value.clone());
            }
        }
        Ok(Self {
            running,
            parameters,
            capabilities: Vec::new(),
        })
    }

    /// Sets the rate, and that the guest is only saved.
    pub(crate) fn set_rate(&self, qmp: &mut Qmp, rate: u64) -> Result {
        let mut parameters = json!({ "max-bandwidth": rate });
        if let (true, Some(all)) = (
            self.parameters.contains_key("mode"),
            parameters.as_object_mut(),
        ) {
            all.insert("mode".into(), "normal".into());
        }
        qmp.call("migrate-set-parameters", parameters).map(drop)
    }

    /// Leaves this capability alone enabled, of those that change what is saved.
    pub(crate) fn set_capability(&mut self, qmp: &mut Qmp, only: &str) -> Result {
        let all = qmp.call("query-migrate-capabilities", json!({}))?;
        let all = all.as_array().cloned().unwrap_or_default();
        let is = |one: &Value, name: &str| one.get("capability").is_some_and(|have| have == name);
        if !all.iter().any(|one| is(one, only)) {
            let text = format!("this QEMU has no {only}");
            return Err(Error::new(Status::Qemu, text));
        }
        let mut wanted = Vec::new();
        for one in all {
            let state = is(&one, only);
            if is(&one, "events") || one.get("state") == Some(&state.into()) {
                continue;
            }
            let name = one.get("capability");
            wanted.push(json!({ "capability": name, "state": state }));
            self.capabilities.push(one);
        }
        if wanted.is_empty() {
            return Ok(());
        }
        qmp.call(
            "migrate-set-capabilities",
            json!({ "capabilities": wanted }),
        )
        .map(drop)
    }

    /// Takes back what QEMU was given. What fails here changes nothing of the guest.
    pub(crate) fn put_back(&self, qmp: &mut Qmp, set: &FdSet) {
        if !self.capabilities.is_empty() {
            let capabilities = json!({ "capabilities": self.capabilities });
            let _ = qmp.call("migrate-set-capabilities", capabilities);
        }
        if !self.parameters.is_empty() {
            let _ = qmp.call("migrate-set-parameters", self.parameters.clone().into());
        }
        // QEMU may have closed the set with its last descriptor.
        let _ = qmp.remove_fd(set);
    }

    /// Lets the guest run if it did.
    pub(crate) fn go_on(&self, qmp: &mut Qmp) -> Result {
        let (running, _) = qmp.status()?;
        if self.running && !running {
            qmp.call("cont", json!({}))?;
        }
        Ok(())
    }

    /// Ends the migration, puts all back, and lets the guest run if it did.
    pub(crate) fn undo(&self, qmp: &mut Qmp, set: &FdSet) -> Result {
        if !qmp.migration()?.is_over() {
            qmp.call("migrate_cancel", json!({}))?;
            let start = Instant::now();
            while !qmp.migration()?.is_over() {
                if start.elapsed() > CANCEL {
                    return Err(Error::new(Status::Qemu, "QEMU does not end the migration"));
                }
                std::thread::sleep(TICK);
            }
        }
        self.put_back(qmp, set);
        self.go_on(qmp)
    }

    /// What an error says of the guest, after [`Self::undo`] has said `undone`.
    pub(crate) fn after(&self, error: Error, undone: Result, what: &str) -> Error {
        let guest = match undone {
            Ok(()) if self.running => format!("the guest runs on, and nothing was {what}"),
            Ok(()) => format!("the guest is stopped as before, and nothing was {what}"),
            Err(_) => {
                format!("nothing was {what}; see the guest with 'info status' in its monitor")
            }
        };
        Error::new(error.status, format!("{}: {guest}", error.message))
    }
}

/// Has QEMU write the guest to a set, and waits until it has.
pub(crate) fn migrate(
    qmp: &mut Qmp,
    set: &FdSet,
    stream: &Stream,
    stop: &Stop,
    tick: Duration,
    mut progress: impl FnMut(&Migration),
) -> Result<Migration> {
    qmp.call("migrate", json!({ "uri": set.uri() }))?;
    loop {
        let migration = qmp.migration()?;
        match migration.status.as_str() {
            "completed" => return Ok(migration),
            "failed" | "cancelled" | "none" => {
                let why = error_of(&migration, stream);
                let text = format!("QEMU could not save the guest: {why}");
                return Err(Error::new(Status::Qemu, text));
            }
            _ => (),
        }
        stop.check()?;
        progress(&migration);
        std::thread::sleep(tick);
    }
}

/// Why QEMU has failed. It does not always say what the stream has said.
fn error_of(migration: &Migration, stream: &Stream) -> String {
    let full = stream
        .info()
        .is_ok_and(|info| info.limit.is_some_and(|limit| info.length >= limit));
    match &migration.error {
        Some(text) => text.clone(),
        None if full => "the stream is at its limit".into(),
        None => "it was cancelled, or the mount has no room: see 'df'".into(),
    }
}
