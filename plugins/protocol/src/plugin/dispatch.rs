//! Environment and stdin → one call of a plugin → stdout and exit status, in the order of the reference's dispatcher
//! (pkg/skel/skel.go, v1.3.0), so that of several mistakes the same one is reported.

use std::io::Write;
use std::os::unix::fs::MetadataExt;

use serde::Deserialize;
use serde_json::Value;

use super::{Io, Plugin, stdin};
use crate::environment::{Environment, is_valid_name};
use crate::{CniError, CniResult, Code, Command, Request, Version, gojson, version, wire};

/// Serves one call. `plugins` are those a delegate may be among. Returns the exit status: 0, or 1 with an error object
/// on stdout.
pub fn run(plugin: &dyn Plugin, plugins: &'static [&'static dyn Plugin], io: &mut Io<'_>) -> u8 {
    let mut version = Version::NEWEST;
    let Err(error) = serve(plugin, plugins, io, &mut version) else { return 0 };
    if let Err(closed) = write_all(io.stdout, &error.to_json(version)) {
        // Nobody is left to tell but whoever reads stderr; if that is gone too, the status must do.
        let _ = writeln!(io.stderr, "{}: {error} (and this cannot be written to stdout: {closed})", plugin.name());
    }
    1
}

fn write_all(stdout: &mut dyn Write, text: &str) -> std::io::Result<()> {
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
}

fn serve(
    plugin: &dyn Plugin,
    plugins: &'static [&'static dyn Plugin],
    io: &mut Io<'_>,
    spoken: &mut Version,
) -> Result<(), CniError> {
    let mut environment = match Environment::read(io.env) {
        Err(_) if (io.env)("CNI_COMMAND").unwrap_or_default().is_empty() => {
            let _ = writeln!(io.stderr, "{}", plugin.about());
            let _ = writeln!(io.stderr, "CNI protocol versions supported: {}", versions_text(plugin, ", "));
            return Ok(());
        }
        read => read?,
    };
    if environment.command == Command::Version.as_str() {
        return print(io, &version_text(plugin));
    }
    let stdin = stdin::read(io.stdin)?;
    let config = gojson::parse(&stdin).map_err(|reason| undecodable(&reason))?;
    // An error is told in the configuration's version as soon as that can be known.
    *spoken =
        gojson::lookup(&config, "cniVersion").and_then(Value::as_str).and_then(Version::from_text).unwrap_or(*spoken);
    let name = network_name(&config)?;
    let Some(command) = Command::from_text(&environment.command) else {
        let text = format!("unknown CNI_COMMAND: {}", environment.command);
        return Err(CniError::new(Code::InvalidEnvironment, text));
    };
    let version = config_version(&config, command, plugin)?;
    *spoken = version;
    if !environment.netns_override && is_own_netns(&environment.netns) {
        match command {
            Command::Add => {
                let text = "plugin's netns and netns from CNI_NETNS should not be the same";
                return Err(CniError::new(Code::InvalidNetns, text));
            }
            // The path has come to lead to the node's own namespace: the container's is gone, and its leases and rules must
            // go too. Nothing in this namespace is taken for the container's.
            Command::Del => environment.netns.clear(),
            _ => {}
        }
    }
    let request = Request::new(command, environment, (name, version), (config, stdin), plugins);
    match command {
        Command::Add => answer(plugin, &request, &plugin.add(&request)?, io),
        Command::Check => plugin.check(&request),
        Command::Del => plugin.del(&request),
        Command::Gc => plugin.gc(&request),
        Command::Status => plugin.status(&request),
        Command::Version => print(io, &version_text(plugin)),
    }
}

/// Prints the result of an ADD. When it cannot be said in the caller's version, or not be written, the work is undone:
/// an attachment that the runtime knows nothing of would be nobody's. A plugin that knows beforehand what cannot be said
/// says so beforehand ([`Version::require_addresses`]); this is for those that cannot know.
fn answer(plugin: &dyn Plugin, request: &Request, result: &CniResult, io: &mut Io<'_>) -> Result<(), CniError> {
    let printed = wire::encode(result, request.version).and_then(|value| print(io, &wire::pretty(&value)));
    printed.map_err(|error| match plugin.del(request) {
        Ok(()) => error,
        Err(undo) => error.with_details(format!("and taking the attachment back failed: {undo}")),
    })
}

fn print(io: &mut Io<'_>, text: &str) -> Result<(), CniError> {
    write_all(io.stdout, text).map_err(|error| CniError::new(Code::Io, format!("cannot write to stdout: {error}")))
}

fn undecodable(reason: &str) -> CniError {
    CniError::new(Code::Decode, format!("error unmarshall network config: {reason}"))
}

fn network_name(config: &Value) -> Result<String, CniError> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Head {
        name: String,
    }
    let Head { name } = gojson::decode(config).map_err(|error| undecodable(&error.to_string()))?;
    if name.is_empty() {
        return Err(CniError::config("missing network name"));
    }
    if !is_valid_name(&name) {
        return Err(CniError::config("invalid characters found in network name").with_details(name));
    }
    Ok(name)
}

/// The configuration's version: allowed for the verb (code 1, or 6 when it is no version), and exactly one of those the
/// plugin serves (code 1).
fn config_version(config: &Value, command: Command, plugin: &dyn Plugin) -> Result<Version, CniError> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Head {
        cni_version: String,
    }
    let undecodable = |reason: String| CniError::new(Code::Decode, reason);
    let Head { cni_version: text } = gojson::decode(config)
        .map_err(|error| undecodable(format!("decoding version from network config: {error}")))?;
    let first_with_verb = match command {
        Command::Check => Some(Version::V0_4_0),
        Command::Gc | Command::Status => Some(Version::V1_1_0),
        Command::Add | Command::Del | Command::Version => None,
    };
    if let Some(first) = first_with_verb {
        let numbers = version::numbers(&text).map_err(undecodable)?;
        if numbers < version::numbers(first.as_str()).map_err(undecodable)? {
            let text = format!("config version does not allow {}", command.as_str());
            return Err(CniError::new(Code::IncompatibleVersion, text));
        }
    }
    Version::from_text(&text).filter(|version| plugin.versions().contains(version)).ok_or_else(|| {
        let served: Vec<String> = plugin.versions().iter().map(|version| format!("{:?}", version.as_str())).collect();
        let details = format!("config is {text:?}, plugin supports [{}]", served.join(" "));
        CniError::new(Code::IncompatibleVersion, "incompatible CNI versions").with_details(details)
    })
}

fn versions_text(plugin: &dyn Plugin, separator: &str) -> String {
    plugin.versions().iter().map(|version| version.as_str()).collect::<Vec<_>>().join(separator)
}

/// The specification wants the input's `cniVersion` back; the reference reads no input and says the newest.
fn version_text(plugin: &dyn Plugin) -> String {
    let versions = versions_text(plugin, "\",\"");
    format!("{{\"cniVersion\":\"{}\",\"supportedVersions\":[\"{versions}\"]}}\n", Version::NEWEST)
}

/// True when the path is the namespace this process is in. The reference asks only after the work, and fails a DEL that has
/// done all of it. A path that cannot
/// be looked at is another plugin's question.
fn is_own_netns(path: &str) -> bool {
    let identity = |path: &str| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    !path.is_empty() && identity(path).is_some_and(|theirs| identity("/proc/self/ns/net") == Some(theirs))
}

/// A panic must end with an error object on stdout too, or the runtime has nothing to show but "exit status 134".
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let error = CniError::internal(format!("a bug in the plugin: {panic}"));
        let _ = std::io::stdout().lock().write_all(error.to_json(Version::NEWEST).as_bytes());
        let _ = std::io::stdout().lock().flush();
        std::process::exit(1);
    }));
}

#[cfg(test)]
mod tests;
