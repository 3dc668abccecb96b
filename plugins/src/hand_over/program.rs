//! Programs of the node, started for the operator: what `iptables` and `nft` write is what the reference plugins, which start
//! them too, will look for.

use std::io::{ErrorKind, Write};
use std::process::{Command, Output, Stdio};

/// Runs it. Errors: it cannot be started, or it failed and said why.
pub fn run(program: &str, arguments: &[&str], stdin: &str) -> Result<(), String> {
    let output = start(program, arguments, stdin)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it did not say why").trim();
    Err(format!("{program} {}: {said}", arguments.join(" ")))
}

/// Whether it answers yes. Errors: it cannot be started.
pub fn agrees(program: &str, arguments: &[&str]) -> Result<bool, String> {
    start(program, arguments, "").map(|output| output.status.success())
}

fn start(program: &str, arguments: &[&str], stdin: &str) -> Result<Output, String> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => {
            format!("cannot run {program}: it is not in PATH; install it, the reference needs it too")
        }
        _ => format!("cannot run {program}: {error}"),
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut pipe) = child.stdin.take() {
        // Who reads nothing may be gone by now, and its exit status says the rest.
        let _ = pipe.write_all(stdin.as_bytes());
    }
    child.wait_with_output().map_err(failed)
}
