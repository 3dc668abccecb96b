//! The test binaries: built once by cargo, found by what it reports, each in its ring.

use crate::{place, steps};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A built test binary.
pub struct Binary {
    pub package: String,
    /// Name of the target: the crate's for unit tests, the file's for those in `tests/`.
    pub target: String,
    /// `lib`, `bin` or `test`.
    pub kind: String,
    pub executable: PathBuf,
    /// Directory of the crate; tests run in it.
    pub room: PathBuf,
}

impl Binary {
    /// What a person calls it.
    pub fn title(&self) -> String {
        if self.kind == "test" {
            format!("{} {}", self.package, self.target)
        } else {
            format!("{} (in the sources)", self.package)
        }
    }

    /// The ring it belongs to: the least powerful in which it can fail.
    pub fn ring(&self) -> u8 {
        match (self.package.as_str(), self.kind.as_str()) {
            ("fairlead-conformance", "test")
                if self.target == "containers" || self.target.starts_with("kube_proxy") =>
            {
                4
            }
            ("fairlead-conformance", "test") if self.target == "conformance_ours" => 1,
            ("fairlead-conformance", _) => 3,
            ("fairlead-ebpf-object", "test") | ("fairlead-proxy", _) => 2,
            ("fairlead-ebpf-shared" | "fairlead-proxy-model" | "fairlead-overlay-model", _) => 0,
            ("fairlead-kernel", _) | (_, "test") => 1,
            _ => 0,
        }
    }

    /// How many of its tests run at once; `None`: as many as there are processors. Most of what is tested in namespaces
    /// waits for the kernel's grace periods, and one of those serves all who wait. What measures, or puts load on the
    /// machine, runs as it always does.
    pub fn threads(&self) -> Option<u32> {
        const WAITING: u32 = 8;
        let at_work =
            ["containers", "overlay", "proxy"].contains(&&*self.target) || self.target.starts_with("kube_proxy");
        let waits = self.package == "fairlead-conformance" && !at_work;
        (waits && self.kind == "test").then_some(WAITING)
    }

    /// The command that runs it, as `cargo test` would.
    pub fn command(&self, filter: Option<&str>) -> Command {
        let mut command = place::command(&self.executable.to_string_lossy());
        command.args(self.arguments(filter.as_slice())).current_dir(&self.room).env("CARGO_MANIFEST_DIR", &self.room);
        command.env("FAIRLEAD_DIST", place::dist());
        if let Some(threads) = self.threads() {
            command.env("RUST_TEST_THREADS", threads.to_string());
        }
        command
    }

    /// Its arguments; passing tests show what they printed, for that is where a skip is said.
    pub fn arguments(&self, told: &[&str]) -> Vec<String> {
        let mut arguments: Vec<String> = told.iter().map(|word| (*word).to_owned()).collect();
        arguments.push("--show-output".to_owned());
        arguments
    }

    /// What to type to run one of its tests again.
    pub fn rerun(&self, test: &str) -> String {
        let target = match self.kind.as_str() {
            "test" => format!("--test {}", self.target),
            "bin" => format!("--bin {}", self.target),
            _ => "--lib".to_owned(),
        };
        format!("cargo test -p {} {target} {test} -- --exact --nocapture", self.package)
    }
}

/// What cargo says of something it built; other messages lack these fields.
#[derive(Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Build them all, and list them by ring and name.
pub fn build() -> Result<Vec<Binary>> {
    let mut cargo = place::cargo();
    cargo.args(["test", "--workspace", "--no-run", "--locked", "--message-format=json-render-diagnostics"]);
    let log = steps::run("build the tests", &mut cargo)?;
    let text = fs::read_to_string(&log).with_context(|| format!("read {}", log.display()))?;
    let mut binaries: Vec<Binary> = text.lines().filter(|line| line.starts_with('{')).filter_map(read).collect();
    if binaries.is_empty() {
        bail!("cargo built no test binary: see {}", log.display());
    }
    binaries.sort_by(|a, b| (a.ring(), &a.package, &a.target).cmp(&(b.ring(), &b.package, &b.target)));
    Ok(binaries)
}

fn read(line: &str) -> Option<Binary> {
    let message: Message = serde_json::from_str(line).ok()?;
    if message.reason != "compiler-artifact" || !message.profile?.test {
        return None;
    }
    let target = message.target?;
    Some(Binary {
        package: package(&message.package_id?),
        target: target.name,
        kind: target.kind.first()?.clone(),
        executable: message.executable?,
        room: message.manifest_path?.parent()?.to_path_buf(),
    })
}

/// `path+file:///home/x/plugins#fairlead-cni@0.1.0`, or `path+file:///home/x/xtask#0.1.0` where the directory has the
/// crate's name.
fn package(id: &str) -> String {
    let (path, rest) = id.split_once('#').unwrap_or(("", id));
    match rest.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => path.rsplit('/').next().unwrap_or(rest).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_in_both_forms_of_its_id() {
        assert_eq!(package("path+file:///x/plugins#fairlead-cni@0.1.0"), "fairlead-cni");
        assert_eq!(package("path+file:///x/xtask#0.1.0"), "xtask");
    }

    #[test]
    fn only_executables_built_for_tests_are_listed() {
        let artifact = |test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///x/proxy#fairlead-proxy@0.1.0",
                "manifest_path":"/x/proxy/Cargo.toml","target":{{"name":"loop","kind":["test"]}},
                "profile":{{"test":{test}}},"executable":"/x/target/debug/deps/loop-1"}}"#
            )
            .replace('\n', "")
        };
        assert_eq!(read(&artifact(true)).unwrap().title(), "fairlead-proxy loop");
        assert!(read(&artifact(false)).is_none());
        assert!(read(r#"{"reason":"build-finished","success":true}"#).is_none());
    }
}
