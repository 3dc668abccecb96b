//! The keys that are read, by whom: libcni's of a list, and those of every plugin that this binary is (containernetworking
//! plugins v1.9.1, flannel-io/cni-plugin). Pure.

/// A key and what may be inside its value.
pub struct Key {
    pub name: &'static str,
    pub inside: Inside,
}

pub enum Inside {
    /// Not looked into: no object, or one whose keys are the user's.
    Anything,
    /// An object of these keys.
    Object(&'static [&'static [Key]]),
    /// A list of objects of these keys, however deep in lists.
    Lists(&'static [&'static [Key]]),
    /// An object of the keys of the plugin that it names in `type`.
    Delegate,
    /// An object of the keys of the IPAM plugin that it names in `type`.
    Ipam,
}

const fn any(name: &'static str) -> Key {
    Key { name, inside: Inside::Anything }
}

const fn object(name: &'static str, keys: &'static [&'static [Key]]) -> Key {
    Key { name, inside: Inside::Object(keys) }
}

const fn lists(name: &'static str, keys: &'static [&'static [Key]]) -> Key {
    Key { name, inside: Inside::Lists(keys) }
}

/// Of a configuration list. Matched exactly, unlike the keys of plugins.
pub const LIST: &[Key] = &[
    any("cniVersion"),
    any("cniVersions"),
    any("name"),
    any("disableCheck"),
    any("disableGC"),
    any("loadOnlyInlinedPlugins"),
    any("plugins"),
];

/// Of every plugin.
pub const COMMON: &[Key] = &[
    any("cniVersion"),
    any("name"),
    any("type"),
    any("capabilities"),
    Key { name: "ipam", inside: Inside::Ipam },
    object("dns", &[&[any("nameservers"), any("domain"), any("search"), any("options")]]),
    any("prevResult"),
    any("runtimeConfig"),
    any("args"),
    // Read by containerd's and CRI-O's own code, and by nobody else.
    any("disableCheck"),
    any("disableGC"),
];

const ROUTE: &[Key] = &[any("dst"), any("gw"), any("mtu"), any("advmss"), any("priority"), any("table"), any("scope")];

const RANGE: &[Key] = &[any("subnet"), any("rangeStart"), any("rangeEnd"), any("gateway")];

const MASQUERADE: &[Key] = &[any("ipMasq"), any("ipMasqBackend")];

const BRIDGE: &[Key] = &[
    any("bridge"),
    any("isGateway"),
    any("isDefaultGateway"),
    any("forceAddress"),
    any("mtu"),
    any("hairpinMode"),
    any("promiscMode"),
    any("vlan"),
    lists("vlanTrunk", &[&[any("minID"), any("maxID"), any("id")]]),
    any("preserveDefaultVlan"),
    any("macspoofchk"),
    any("enabledad"),
    any("disableContainerInterface"),
    any("portIsolation"),
];

const PTP: &[Key] = &[any("mtu")];

const PORTMAP: &[Key] = &[
    any("backend"),
    any("snat"),
    any("masqAll"),
    any("markMasqBit"),
    any("externalSetMarkChain"),
    any("conditionsV4"),
    any("conditionsV6"),
];

const FIREWALL: &[Key] = &[any("backend"), any("iptablesAdminChainName"), any("firewalldZone"), any("ingressPolicy")];

const TUNING: &[Key] =
    &[any("sysctl"), any("mac"), any("promisc"), any("mtu"), any("txQLen"), any("allmulti"), any("dataDir")];

const BANDWIDTH: &[Key] = &[any("ingressRate"), any("ingressBurst"), any("egressRate"), any("egressBurst")];

const FLANNEL: &[Key] = &[any("subnetFile"), any("dataDir"), Key { name: "delegate", inside: Inside::Delegate }];

const HOST_LOCAL: &[Key] = &[
    any("type"),
    lists("ranges", &[RANGE]),
    any("subnet"),
    any("rangeStart"),
    any("rangeEnd"),
    any("gateway"),
    lists("routes", &[ROUTE]),
    any("dataDir"),
    any("resolvConf"),
];

const STATIC: &[Key] = &[
    any("type"),
    lists("addresses", &[&[any("address"), any("gateway")]]),
    lists("routes", &[ROUTE]),
    object("dns", &[&[any("nameservers"), any("domain"), any("search"), any("options")]]),
];

/// The keys of a plugin. `None`: not one of ours, so nobody here knows.
pub fn of_plugin(kind: &str) -> Option<&'static [&'static [Key]]> {
    Some(match kind {
        "bridge" => &[COMMON, BRIDGE, MASQUERADE],
        "ptp" => &[COMMON, PTP, MASQUERADE],
        "loopback" => &[COMMON],
        "portmap" => &[COMMON, PORTMAP],
        "firewall" => &[COMMON, FIREWALL],
        "tuning" => &[COMMON, TUNING],
        "bandwidth" => &[COMMON, BANDWIDTH],
        "flannel" => &[COMMON, FLANNEL],
        _ => return None,
    })
}

/// The keys of an `ipam` object. `None` as in [`of_plugin`].
pub fn of_ipam(kind: &str) -> Option<&'static [&'static [Key]]> {
    match kind {
        "host-local" => Some(&[HOST_LOCAL]),
        "static" => Some(&[STATIC]),
        _ => None,
    }
}

/// Plugins that make an interface.
pub const MAIN: &[&str] =
    &["bridge", "ptp", "loopback", "flannel", "macvlan", "ipvlan", "vlan", "host-device", "dummy", "tap"];

/// Plugins that work on the result of one before them.
pub const CHAINED: &[&str] = &["portmap", "firewall", "tuning", "bandwidth", "sbr", "vrf"];

/// Capabilities and the plugins of the reference set that read them.
pub const CAPABILITIES: &[(&str, &[&str])] = &[
    ("portMappings", &["portmap"]),
    ("bandwidth", &["bandwidth"]),
    ("ipRanges", MAIN),
    ("ips", MAIN),
    ("mac", &["bridge", "macvlan", "tap", "tuning", "ipvlan", "ptp", "flannel", "host-device"]),
    ("deviceID", &["host-device", "macvlan", "ipvlan"]),
];
