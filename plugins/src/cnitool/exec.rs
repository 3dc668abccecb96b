//! One call of one plugin, in a process of its own.

use std::path::Path;

use fairlead_protocol::{CniError, Command, delegate};

use super::call::Attachment;

/// Looks the plugin up and runs it; returns what it printed. Its stderr is ours. For GC and STATUS the attachment is
/// empty. Errors: the plugin's own, or why it could not be run.
pub fn run(
    path: &str,
    kind: &str,
    command: Command,
    attachment: &Attachment,
    stdin: &[u8],
) -> Result<Vec<u8>, CniError> {
    let file = delegate::find_in_path(kind, path).map_err(|error| match path {
        "" => error.with_details("set CNI_PATH to the directory of the plugins"),
        _ => error,
    })?;
    run_file(&file, path, command, attachment, stdin)
}

/// The same by the plugin's file; `path` is what it is told as `CNI_PATH`.
pub fn run_file(
    file: &Path,
    path: &str,
    command: Command,
    attachment: &Attachment,
    stdin: &[u8],
) -> Result<Vec<u8>, CniError> {
    let args: Vec<String> = attachment.args.iter().map(|pair| pair.join("=")).collect();
    let variables = [
        ("CNI_COMMAND", command.as_str()),
        ("CNI_CONTAINERID", &attachment.container_id),
        ("CNI_NETNS", &attachment.netns),
        ("CNI_IFNAME", &attachment.ifname),
        ("CNI_ARGS", &args.join(";")),
        ("CNI_PATH", path),
    ];
    delegate::run_plugin(file, &variables, stdin)
}
