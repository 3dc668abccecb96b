//! What the reference plugins are known to do wrong: a row for each, with its upstream issue. A row that is met no more is
//! a mistake of this list, and its test says so.

use std::path::Path;

use super::{Case, Outcome, Verdict};

/// One fault of the reference.
#[derive(Debug)]
pub(super) struct Fault {
    case: &'static str,
    /// The plugins it is known of; none: whichever the case is about.
    plugins: &'static [&'static str],
    /// The versions it shows in; none: all.
    versions: &'static [&'static str],
    pub(super) issue: &'static str,
    pub(super) what: &'static str,
}

const STRANGER: &str =
    "rules in a form that it does not know stay, until the plugins that made them collect them by GC";
const UNREPORTED: &str = "not reported upstream";

const FAULTS: &[Fault] = &[
    fault(
        "F4.own",
        UNREPORTED,
        "the check for its own namespace comes after the work: a result and an error are printed, and what was made stays",
    ),
    fault("F6.zero", "containernetworking/plugins#498", "a lease file of length zero is never freed"),
    fault("F7.file", UNREPORTED, "DEL fails for ever when the data directory is a file"),
    fault("T72.del", UNREPORTED, "DEL validates the ranges: a configuration made invalid keeps the pod"),
    fault("trap5.del", UNREPORTED, "unknown CNI_ARGS fail DEL"),
    of_plugins("gc.leases", &["host-local"], "containernetworking/plugins#1047", "no plugin implements GC"),
    of_plugins("gc.pods", &["bridge", "ptp"], "containernetworking/plugins#1013", "no plugin implements GC"),
    of_plugins("gc.rules", &["portmap", "firewall"], "containernetworking/plugins#1047", "no plugin implements GC"),
    of_plugins("gc.ifbs", &["bandwidth"], "containernetworking/plugins#1047", "no plugin implements GC"),
    of_plugins("gc.files", &["tuning"], "containernetworking/plugins#1047", "no plugin implements GC"),
    fault(
        "status.empty",
        "containernetworking/plugins#1013",
        "STATUS of IPAM is not implemented: an empty pool is ready",
    ),
    fault("T49.whole", "containernetworking/plugins#29", "a failed ADD leaves the pair"),
    fault("T49.layer2", UNREPORTED, "CHECK always calls IPAM, also where there is none"),
    fault(
        "T50.gone",
        "containernetworking/plugins#810",
        "without the namespace the addresses are unknown, and their rules stay",
    ),
    fault("trap3", UNREPORTED, "a result that the version cannot tell is found out after the work, which stays"),
    fault("trap12", UNREPORTED, "two equal default routes: EEXIST"),
    fault("trap17", UNREPORTED, "CHECK compares the path of the namespace as text"),
    fault(
        "reuse",
        UNREPORTED,
        "the route of a left-over pair is kept, and the next owner of the address is not reached",
    ),
    fault("T77.check-missing", UNREPORTED, "CHECK compares gateways only"),
    fault("T85.two", UNREPORTED, "the name of the ifb lacks the interface: the second one collides"),
    fault("T85.check", UNREPORTED, "CHECK looks at a queue only where it finds one"),
    of_plugins("F24", &["bandwidth"], UNREPORTED, "nil dereference without prevResult and limits"),
    fault("T86.without", UNREPORTED, "without prevResult the addresses are unknown, and their rules stay"),
    fault("T87.args", UNREPORTED, "args.cni.sysctl without sysctl: assignment to a nil map"),
    fault(
        "T87.check-others",
        UNREPORTED,
        "CHECK compares texts: tabs of the kernel are no blanks; promisc must be off if it was not asked for",
    ),
    fault("T87.gone", UNREPORTED, "without the namespace the kept file stays"),
    fault("switch.iptables", UNREPORTED, STRANGER),
    fault("switch.nftables", UNREPORTED, STRANGER),
    fault("switch.spoof", UNREPORTED, STRANGER),
    of_plugins("switch", &["firewall"], UNREPORTED, STRANGER),
];

const fn fault(case: &'static str, issue: &'static str, what: &'static str) -> Fault {
    Fault { case, plugins: &[], versions: &[], issue, what }
}

const fn of_plugins(
    case: &'static str,
    plugins: &'static [&'static str],
    issue: &'static str,
    what: &'static str,
) -> Fault {
    Fault { case, plugins, versions: &[], issue, what }
}

impl Fault {
    fn is_of(&self, id: &str, plugin: &str, version: &str) -> bool {
        let listed = |list: &[&str], name: &str| list.is_empty() || list.contains(&name);
        self.case == id && listed(self.plugins, plugin) && listed(self.versions, version)
    }
}

/// The known fault that this case shows on the reference.
pub(super) fn fault_of(case: &Case, version: &str) -> Option<&'static Fault> {
    FAULTS.iter().find(|fault| fault.is_of(case.id, case.plugin, version))
}

/// Whether a binary is one of the reference: Go notes in it of which package it was made.
pub(super) fn is_reference(binary: &Path) -> bool {
    const PACKAGES: [&[u8]; 2] =
        [b"path\tgithub.com/containernetworking/plugins/", b"path\tgithub.com/flannel-io/cni-plugin"];
    let bytes = std::fs::read(binary).unwrap_or_default();
    PACKAGES.iter().any(|package| bytes.windows(package.len()).any(|window| window == *package))
}

/// Rows whose case was played and never showed the fault.
pub(super) fn idle(outcomes: &[Outcome]) -> Vec<String> {
    let mut idle = Vec::new();
    for fault in FAULTS {
        let mut played = outcomes.iter().filter(|one| fault.is_of(one.id, one.plugin, one.version)).peekable();
        let was_played = played.peek().is_some();
        if was_played && !played.any(|one| matches!(one.verdict, Verdict::KnownFault { .. } | Verdict::Skipped { .. }))
        {
            idle.push(format!("{}: {} ({})", fault.case, fault.what, fault.issue));
        }
    }
    idle
}
