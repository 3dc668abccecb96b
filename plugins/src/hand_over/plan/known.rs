//! What the cache says of an attachment: its configuration and its result. Pure.

use fairlead_kernel::Mac;
use fairlead_protocol::{CniResult, Version, check_interface_name, gojson, is_valid_name};
use serde::Deserialize;
use serde_json::Value;

use super::super::survey::Standing;
use super::{Deed, Piece};
use crate::cnitool::{Found, NetworkList, PluginConfig, for_attachment, parse_kept};
use crate::owner;

/// What is said of an attachment where it is kept.
pub struct Known {
    list: NetworkList,
    result: CniResult,
    version: Version,
    /// Who made the interface, and through whom.
    makers: Vec<Maker>,
}

struct Maker {
    kind: String,
    through: Option<String>,
    keys: Keys,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    ip_masq: bool,
    ip_masq_backend: Option<String>,
    macspoofchk: bool,
}

impl Known {
    /// Reads it. Errors: why it cannot be used, in words.
    pub fn read(
        found: &Found,
        delegated: &dyn Fn(&PluginConfig, &Found) -> Option<PluginConfig>,
    ) -> Result<Known, String> {
        let (network, container) = (&found.network, &found.attachment.container_id);
        if let Some(bad) = [network, container].into_iter().find(|name| !is_valid_name(name)) {
            return Err(format!("{bad:?} in the cache is no name that a plugin takes"));
        }
        check_interface_name(&found.attachment.ifname).map_err(|error| format!("in the cache: {error}"))?;
        let mut list = parse_kept(&found.config).map_err(|error| format!("the configuration in the cache: {error}"))?;
        list.name.clone_from(network);
        let version = if list.version.is_empty() { Some(Version::V0_1_0) } else { Version::from_text(&list.version) };
        let version = version.ok_or_else(|| {
            format!("the configuration in the cache has cniVersion {:?}, which is not known", list.version)
        })?;
        let result = found.result.as_ref().ok_or("the cache has no result of it")?;
        let (result, _) = CniResult::from_value(result, &list.version)
            .map_err(|reason| format!("the result in the cache cannot be read: {reason}"))?;
        let makers = list.plugins.iter().filter_map(|plugin| maker(plugin, found, delegated)).collect();
        Ok(Known { list, result, version, makers })
    }

    /// What is to be done about a piece. Errors: why it must stay, in words.
    pub fn deed(&self, piece: Piece, found: &Found, mark: &str, standing: &Standing) -> Result<Deed, String> {
        match piece {
            Piece::Masquerade => self.masquerade(mark, standing),
            Piece::SpoofCheck => self.spoof_check(found, mark, standing),
            Piece::Forwards => {
                let configs = self.call("portmap", found)?;
                match configs.iter().any(|config| asks_for_ports(config)) {
                    true => Ok(Deed::Call { kind: "portmap", configs }),
                    false => Err("the cache says of no port that is published".to_owned()),
                }
            }
            Piece::Admission => Ok(Deed::Call { kind: "firewall", configs: self.call("firewall", found)? }),
        }
    }

    fn masquerade(&self, mark: &str, standing: &Standing) -> Result<Deed, String> {
        let maker = self.maker(|keys| keys.ip_masq, "ipMasq")?;
        let backend = maker.keys.ip_masq_backend.clone();
        if let Some(other) = backend.as_deref().filter(|one| !["iptables", "nftables"].contains(one)) {
            return Err(format!("ipMasqBackend is {other:?}, which is neither \"iptables\" nor \"nftables\""));
        }
        let mut addresses = Vec::new();
        for one in standing.masqueraded.iter().filter(|one| owner::is_of(&one.owner, mark)) {
            let said = self.result.ips.iter().find(|ip| ip.address.addr() == one.address);
            let said = said.ok_or_else(|| format!("the result in the cache does not have {}", one.address))?;
            addresses.push(said.address);
        }
        Ok(Deed::Masquerade { backend, addresses })
    }

    fn spoof_check(&self, found: &Found, mark: &str, standing: &Standing) -> Result<Deed, String> {
        self.maker(|keys| keys.macspoofchk, "macspoofchk")?;
        let protected = standing.protected.iter().filter(|one| owner::is_of(&one.owner, mark));
        let ports: Vec<(String, Mac)> = protected.map(|one| (one.port.clone(), one.mac)).collect();
        let strange = ports.iter().map(|(port, _)| port).chain([&found.attachment.ifname]).find(|name| !is_plain(name));
        match strange.cloned() {
            Some(name) => Err(format!("nft takes no name like {name:?}")),
            None => Ok(Deed::SpoofCheck { ports }),
        }
    }

    /// What every plugin of the type is told.
    fn call(&self, kind: &str, found: &Found) -> Result<Vec<Vec<u8>>, String> {
        let result = self.result.to_value(self.version).map_err(|error| error.to_string())?;
        let told = |plugin| for_attachment(&self.list, plugin, Some(result.clone()), &found.attachment.capabilities);
        let configs: Vec<Vec<u8>> = self.list.plugins.iter().filter(|plugin| plugin.kind == kind).map(told).collect();
        if configs.is_empty() {
            return Err(format!("the configuration in the cache has no {kind}"));
        }
        Ok(configs)
    }

    fn maker(&self, wanted: impl Fn(&Keys) -> bool, key: &str) -> Result<&Maker, String> {
        let found = self.makers.iter().find(|maker| wanted(&maker.keys));
        found.ok_or_else(|| format!("no bridge or ptp of the configuration in the cache says {key}"))
    }

    /// The types that must be there for their DEL.
    pub fn needs(&self, piece: Piece) -> Vec<String> {
        let maker = match piece {
            Piece::Forwards => return vec!["portmap".to_owned()],
            Piece::Admission => return vec!["firewall".to_owned()],
            Piece::Masquerade => self.maker(|keys| keys.ip_masq, ""),
            Piece::SpoofCheck => self.maker(|keys| keys.macspoofchk, ""),
        };
        maker.map_or(Vec::new(), |maker| maker.through.iter().chain([&maker.kind]).cloned().collect())
    }
}

fn maker(
    plugin: &PluginConfig,
    found: &Found,
    delegated: &dyn Fn(&PluginConfig, &Found) -> Option<PluginConfig>,
) -> Option<Maker> {
    let (plugin, through) = match plugin.kind.as_str() {
        "flannel" => (&delegated(plugin, found)?, Some(plugin.kind.clone())),
        _ => (plugin, None),
    };
    let keys = gojson::decode(&Value::Object(plugin.object.clone())).ok()?;
    ["bridge", "ptp"].contains(&plugin.kind.as_str()).then(|| Maker { kind: plugin.kind.clone(), through, keys })
}

/// What `nft` reads as part of a name.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// Whether it has ports to publish, by its own account.
pub fn publishes(found: &Found) -> bool {
    let Ok(list) = parse_kept(&found.config) else { return false };
    let told = |plugin| for_attachment(&list, plugin, None, &found.attachment.capabilities);
    list.plugins.iter().filter(|plugin| plugin.kind == "portmap").any(|plugin| asks_for_ports(&told(plugin)))
}

/// Whether this configuration of `portmap` has anything to publish.
fn asks_for_ports(config: &[u8]) -> bool {
    let Ok(config) = gojson::parse(config) else { return false };
    let runtime = gojson::lookup(&config, "runtimeConfig");
    let mappings = runtime.and_then(|runtime| gojson::lookup(runtime, "portMappings")).and_then(Value::as_array);
    mappings.is_some_and(|mappings| !mappings.is_empty())
}
