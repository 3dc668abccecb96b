//! The peers file: YAML, or JSON, which is read by the same parser as the part of YAML it is. Every value keeps its line.
//!
//! ```yaml
//! network: 10.244.0.0/16        # and/or ipv6Network
//! vni: 1                        # default 1; the device is flannel.<vni>
//! port: 8472                    # default 8472
//! nodes:
//!   - name: node-a
//!     address: 192.168.77.1     # on the underlay, IPv4 or IPv6
//!     subnet: 10.244.1.0/24     # and/or ipv6Subnet
//!     mac: 0a:1b:2c:3d:4e:5f    # default: derived from name and vni
//! ```
//!
//! Unknown keys are refused: a misspelt `subnet` must not become a node without pods.

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::peers::{At, DEFAULT_PORT, DEFAULT_VNI, Declared, DeclaredNode, Peers, PeersError};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    network: Option<Spanned<String>>,
    ipv6_network: Option<Spanned<String>>,
    vni: Option<Spanned<u64>>,
    port: Option<Spanned<u64>>,
    nodes: Vec<FileNode>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileNode {
    name: Spanned<String>,
    address: Option<Spanned<String>>,
    subnet: Option<Spanned<String>>,
    ipv6_subnet: Option<Spanned<String>>,
    mac: Option<Spanned<String>>,
}

/// Reads the text of a peers file as the node `me` sees it. One error, with the line, the field and the nodes concerned.
pub fn parse(text: &str, me: &str) -> Result<Peers, PeersError> {
    declared(text)?.validate(me)
}

/// Reads the text: syntax and the form of each value.
pub fn declared(text: &str) -> Result<Declared, PeersError> {
    if text.trim().is_empty() {
        return Err(PeersError::at(0, "the file is empty; it needs network and nodes"));
    }
    let file: File = serde_saphyr::from_str(text).map_err(|error| syntax_error(text, &error))?;
    let nodes = file.nodes.into_iter().map(node).collect::<Result<_, _>>()?;
    Ok(Declared {
        network: file.network.map(|v| read("network", "an IPv4 network such as 10.244.0.0/16", v)).transpose()?,
        ipv6_network: file
            .ipv6_network
            .map(|v| read("ipv6Network", "an IPv6 network such as fd00:244::/48", v))
            .transpose()?,
        vni: file.vni.map_or(At { value: u64::from(DEFAULT_VNI), line: 0 }, at),
        port: file.port.map_or(At { value: u64::from(DEFAULT_PORT), line: 0 }, at),
        nodes,
    })
}

fn node(node: FileNode) -> Result<DeclaredNode, PeersError> {
    let name = at(node.name);
    let field = |field: &str| format!("{field} of node {:?}", name.value);
    let address = node.address.ok_or_else(|| {
        PeersError::at(name.line, format!("node {:?} has no address, where the others send to", name.value))
    })?;
    Ok(DeclaredNode {
        address: read(&field("address"), "an IP address", address)?,
        subnet: node.subnet.map(|v| read(&field("subnet"), "an IPv4 network such as 10.244.1.0/24", v)).transpose()?,
        ipv6_subnet: node
            .ipv6_subnet
            .map(|v| read(&field("ipv6Subnet"), "an IPv6 network such as fd00:244:1::/64", v))
            .transpose()?,
        mac: node.mac.map(|v| read(&field("mac"), "a MAC address such as 0a:1b:2c:3d:4e:5f", v)).transpose()?,
        name,
    })
}

fn at<T>(value: Spanned<T>) -> At<T> {
    At { line: value.referenced.line(), value: value.value }
}

fn read<T: std::str::FromStr>(field: &str, form: &str, text: Spanned<String>) -> Result<At<T>, PeersError> {
    let At { value, line } = at(text);
    match value.parse() {
        Ok(value) => Ok(At { value, line }),
        Err(_) => Err(PeersError::at(line, format!("{field}: {value:?} is not {form}"))),
    }
}

/// The parser's message without its drawing of the source, on one line.
fn syntax_error(text: &str, error: &serde_saphyr::Error) -> PeersError {
    let line = error.location().map_or(0, |location| location.line());
    let plain = error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
    let mut message = plain.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    if let Some((head, _)) = message.rsplit_once(" at line ") {
        message.truncate(head.len());
    }
    // The parser points to where the value began that the tab cut off.
    let from = usize::try_from(line).unwrap_or(0).saturating_sub(1);
    let tab = text.lines().enumerate().skip(from).find(|(_, line)| line.trim_start_matches(' ').starts_with('\t'));
    if let Some((number, _)) = tab.filter(|_| message.contains("tab")) {
        return PeersError::at(number as u64 + 1, "indented with a tab; YAML is indented with spaces");
    }
    PeersError::at(line, message)
}
