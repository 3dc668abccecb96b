//! The tables, one file a plugin.

mod bandwidth;
mod bridge;
mod bridge_duties;
mod bridge_layer2;
mod firewall;
mod flannel;
mod host_local;
mod host_local_pool;
mod housekeeping;
mod leniency;
mod loopback;
mod portmap;
mod protocol;
mod ptp;
mod static_ipam;
mod switch;
mod tuning;

use super::Case;

/// The plugins there are rules for.
pub(super) const NAMES: [&str; 10] =
    ["bridge", "ptp", "loopback", "host-local", "static", "portmap", "firewall", "tuning", "bandwidth", "flannel"];

/// Every case, plugin by plugin.
pub(super) fn all() -> Vec<Case> {
    let mut cases: Vec<Case> = NAMES.iter().flat_map(|name| protocol::cases(name)).collect();
    let tables = [
        bridge::cases(),
        bridge_duties::cases(),
        bridge_layer2::cases(),
        ptp::cases(),
        loopback::cases(),
        host_local::cases(),
        host_local_pool::cases(),
        static_ipam::cases(),
        portmap::cases(),
        firewall::cases(),
        tuning::cases(),
        bandwidth::cases(),
        flannel::cases(),
        leniency::cases(),
        housekeeping::cases(),
        switch::cases(),
    ];
    cases.extend(tables.into_iter().flatten());
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own_and_every_plugin_a_case() {
        let cases = all();
        let mut names: Vec<(&str, &str)> = cases.iter().map(|case| (case.plugin, case.id)).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "two cases share a name");
        for plugin in NAMES {
            assert!(cases.iter().any(|case| case.plugin == plugin), "no case is about {plugin}");
        }
        for case in &cases {
            assert!(!case.versions.is_empty() && !case.title.is_empty() && !case.source.is_empty(), "{}", case.id);
        }
    }
}
