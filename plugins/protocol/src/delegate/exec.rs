//! Running somebody else's plugin.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use crate::{CniError, Code, Command, Request};

/// Executes a delegate: the request's variables with another `CNI_COMMAND`, the same configuration byte for byte, its
/// stderr passed on. Returns its stdout. Errors: the delegate's own error object, or what is known when it gave none.
pub fn exec(file: &Path, command: Command, request: &Request) -> Result<Vec<u8>, CniError> {
    let variables = [
        ("CNI_COMMAND", command.as_str()),
        ("CNI_CONTAINERID", &request.container_id),
        ("CNI_NETNS", &request.netns),
        ("CNI_IFNAME", &request.ifname),
        ("CNI_ARGS", &request.args),
        ("CNI_PATH", &request.path),
    ];
    run_plugin(file, &variables, &request.stdin)
}

/// Runs any plugin with these variables added to the environment. Errors as [`exec`].
pub fn run_plugin(file: &Path, variables: &[(&str, &str)], stdin: &[u8]) -> Result<Vec<u8>, CniError> {
    let failed = |reason: String| CniError::new(Code::Io, format!("cannot run {}: {reason}", file.display()));
    let mut process = Process::new(file);
    process.envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = spawn(&mut process).map_err(|error| failed(error.to_string()))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A plugin that does not read its configuration (VERSION) closes the pipe early; that is no failure.
        if let Err(error) =
            pipe.write_all(stdin).or_else(|e| if e.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(e) })
        {
            return Err(failed(format!("writing the configuration: {error}")));
        }
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(CniError::from_json(&output.stdout).unwrap_or_else(|| {
        let said = String::from_utf8_lossy(&output.stdout);
        let error = CniError::internal(format!("netplugin failed: {} ended with {}", file.display(), output.status));
        if said.trim().is_empty() { error } else { error.with_details(said.trim()) }
    }))
}

/// A plugin file that is being replaced by an in-place copy cannot be executed for a moment (ETXTBSY). libcni tries six
/// times, a second apart; so do we.
fn spawn(process: &mut Process) -> std::io::Result<std::process::Child> {
    for _ in 0..5 {
        match process.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => std::thread::sleep(Duration::from_secs(1)),
            other => return other,
        }
    }
    process.spawn()
}
