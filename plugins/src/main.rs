//! `fairlead-cni`: every plugin and `cnitool` in one static binary, told apart by the name it is called by.
//!
//! No async, no thread; no process on ADD unless somebody else's plugin is delegated to.

mod cnitool;
mod ipam;
#[path = "main/mod.rs"]
mod main_plugins;

use std::process::ExitCode;

use fairlead_protocol::{CniError, Code, Io, Plugin, Version};

/// Every plugin this binary is.
static PLUGINS: [&dyn Plugin; 3] =
    [&main_plugins::bridge::Bridge, &ipam::host_local::HostLocal, &main_plugins::loopback::Loopback];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    let name = std::path::Path::new(&called).file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name == "cnitool" {
        return cnitool::main(arguments);
    }
    fairlead_protocol::install_panic_hook();
    match PLUGINS.iter().find(|plugin| plugin.name() == name) {
        Some(plugin) => run(*plugin),
        None => unknown(&name),
    }
}

/// Neither plugin nor tool: say what there is, to people on stderr and to runtimes on stdout.
fn unknown(name: &str) -> ExitCode {
    let known: Vec<&str> = PLUGINS.iter().map(|plugin| plugin.name()).chain(["cnitool"]).collect();
    let known = known.join(", ");
    eprintln!("{name:?} is no plugin of this binary: link it under one of these names and call that: {known}");
    let error = CniError::new(Code::InvalidEnvironment, format!("unknown plugin {name:?}"));
    print!(
        "{}",
        error.with_details(format!("this binary is {known}, by the name it is called by")).to_json(Version::NEWEST)
    );
    ExitCode::FAILURE
}

fn run(plugin: &dyn Plugin) -> ExitCode {
    let mut io = Io {
        env: &|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()),
        stdin: &mut std::io::stdin().lock(),
        stdout: &mut std::io::stdout().lock(),
        stderr: &mut std::io::stderr().lock(),
    };
    ExitCode::from(fairlead_protocol::run(plugin, &PLUGINS, &mut io))
}
