//! `fairlead-cni`: every plugin and `cnitool` in one static binary, told apart by the name it is called by.
//!
//! No async, no thread; no process on ADD unless somebody else's plugin is delegated to. A library with a thin binary, so
//! that what reads other people's bytes can be fuzzed without a process for every try.

mod cnitool;
mod container;
mod doors;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
#[allow(missing_docs)]
pub mod fuzz;
mod hand_over;
mod install;
mod interrupt;
mod ipam;
mod leases;
#[path = "main/mod.rs"]
mod main_plugins;
mod meta;
mod owner;
mod reference;
#[cfg(test)]
mod specimen;
mod state;
mod trial;
mod veth;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use fairlead_protocol::{CniError, Code, Io, Plugin, Version};

/// Every plugin this binary is.
static PLUGINS: &[&dyn Plugin] = &[
    &main_plugins::bridge::Bridge,
    &ipam::host_local::HostLocal,
    &ipam::static_addresses::Static,
    &main_plugins::loopback::Loopback,
    &main_plugins::ptp::Ptp,
    &meta::portmap::Portmap,
    &meta::firewall::Firewall,
    &meta::tuning::Tuning,
    &meta::bandwidth::Bandwidth,
    &meta::flannel::Flannel,
];

const HELP: &str = "\
fairlead-cni: CNI plugins and cnitool in one binary. It is what it is called: link it under a name and call that.

  fairlead-cni NAME [ARGUMENTS]    as if it were called NAME
  fairlead-cni install --to DIR    put it under all of its names into DIR (`install --help` says more)
  fairlead-cni hand-over --to DIR  give running pods to the reference plugins in DIR (`hand-over --help` says more)
  fairlead-cni lint CONFLIST...    what is wrong with a network configuration, as `cnitool lint`
  fairlead-cni ipam show|check|release    the addresses that host-local has given out (`ipam --help` says more)
  fairlead-cni --help | --version
";

/// The whole program: arguments, environment and stdin are the process's own.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default().to_string_lossy().into_owned();
    // As a release may call it too: fairlead-cni-x86_64.
    if !name.starts_with(env!("CARGO_PKG_NAME")) {
        return be(&name, arguments);
    }
    let word = arguments.next().map(|word| word.to_string_lossy().into_owned());
    match word.as_deref() {
        Some("--help" | "-h" | "help") => tell(&format!("{HELP}\nNames: {}\n", names())),
        Some("--version" | "-V") => tell(&format!(
            "fairlead-cni {}, CNI {} to {}\n",
            env!("CARGO_PKG_VERSION"),
            Version::ALL[0],
            Version::NEWEST
        )),
        Some("ipam") => ipam::host_local::operator::main(arguments),
        Some("install") => install::main(arguments, &all_names()),
        Some("hand-over") => hand_over::main(arguments),
        Some("lint") => cnitool::main(std::iter::once("lint".into()).chain(arguments)),
        // A runtime that takes the binary itself for a plugin gets an answer too.
        word => be(word.unwrap_or(&name), arguments),
    }
}

/// Plugin or tool of this name.
fn be(name: &str, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    if name == "cnitool" {
        return cnitool::main(arguments);
    }
    fairlead_protocol::install_panic_hook();
    match PLUGINS.iter().find(|plugin| plugin.name() == name) {
        Some(plugin) => run(*plugin),
        None => unknown(name),
    }
}

fn names() -> String {
    all_names().join(", ")
}

fn all_names() -> Vec<&'static str> {
    PLUGINS.iter().map(|plugin| plugin.name()).chain(["cnitool"]).collect()
}

/// Neither plugin nor tool: say what there is, to people on stderr and to runtimes on stdout.
fn unknown(name: &str) -> ExitCode {
    let known = names();
    complain(format_args!(
        "{name:?} is no plugin of this binary: link it under one of these names and call that: {known}"
    ));
    let error = CniError::new(Code::InvalidEnvironment, format!("unknown plugin {name:?}"));
    let details = format!("this binary is {known}, by the name it is called by");
    tell(&error.with_details(details).to_json(Version::NEWEST));
    ExitCode::FAILURE
}

/// Writes a line to stderr, for people. Unlike `eprintln!` it does not panic when nobody reads it.
fn complain(text: impl std::fmt::Display) {
    // There is nobody left to tell that nobody is left to tell.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Writes to stdout. A reader that has gone away is not a reason to panic.
fn tell(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(plugin: &dyn Plugin) -> ExitCode {
    // A runtime that is told to stop must not leave half an attachment, or half an answer.
    interrupt::hold_back();
    let mut io = Io {
        env: &|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()),
        stdin: &mut std::io::stdin().lock(),
        stdout: &mut std::io::stdout().lock(),
        stderr: &mut std::io::stderr().lock(),
    };
    ExitCode::from(fairlead_protocol::run(plugin, PLUGINS, &mut io))
}
