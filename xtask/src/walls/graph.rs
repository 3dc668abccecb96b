//! Which crate may not be in which crate's tree, from `cargo metadata`'s resolved graph (dev-dependencies left out).

use super::Breach;
use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand};
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

/// A crate, the crates that may not be below it, and why.
struct Wall {
    of: &'static str,
    without: &'static [&'static str],
    why: &'static str,
}

const ASYNC: &[&str] = &["tokio", "async-std", "smol", "futures-executor", "async-executor", "rayon"];
const OUTSIDE: &[&str] = &[
    "tokio",
    "nix",
    "inotify",
    "netlink-sys",
    "netlink-packet-route",
    "aya",
    "kube",
    "k8s-openapi",
    "tracing",
    "fairlead-kernel",
];
const KERNEL: &[&str] = &[
    "fairlead-kernel",
    "nix",
    "netlink-sys",
    "netlink-packet-core",
    "netlink-packet-route",
    "netlink-bindings",
    "rtnetlink",
    "aya",
    "tokio",
];

const WALLS: &[Wall] = &[
    Wall { of: "fairlead-cni", without: ASYNC, why: "a plugin is one thread: no runtime" },
    Wall { of: "fairlead-protocol", without: KERNEL, why: "protocol knows no kernel" },
    Wall { of: "fairlead-kernel", without: &["fairlead-protocol", "tokio"], why: "kernel knows no CNI" },
    Wall { of: "fairlead-proxy-model", without: OUTSIDE, why: "the model only computes" },
    Wall { of: "fairlead-overlay-model", without: OUTSIDE, why: "the model only computes" },
    Wall {
        of: "fairlead-ebpf-shared",
        without: &["tokio", "nix", "fairlead-kernel"],
        why: "both sides of the maps share it",
    },
    Wall { of: "fairlead-proxy", without: &["fairlead-protocol"], why: "the proxy knows no CNI" },
];
/// The judge: none of our crates may be below it.
const JUDGE: &str = "fairlead-conformance";

/// Edges that only exist because `cargo metadata` unites the features of the whole workspace: the daemon turns on
/// `user`, the models do not.
const BY_FEATURE: &[(&str, &str)] = &[("fairlead-ebpf-shared", "aya")];

/// The resolved dependencies, by package name.
pub struct Graph {
    below: BTreeMap<String, Vec<String>>,
    /// Manifests of our own crates, relative to the root.
    manifests: BTreeMap<String, PathBuf>,
}

impl Graph {
    pub fn load(root: &Path) -> Result<Graph> {
        let metadata = MetadataCommand::new()
            .current_dir(root)
            .other_options(["--locked".to_owned(), "--filter-platform".to_owned(), crate::place::TARGET.to_owned()])
            .exec()
            .context("cargo metadata")?;
        let name = |id: &cargo_metadata::PackageId| metadata[id].name.to_string();
        let manifests = metadata
            .workspace_packages()
            .iter()
            .map(|package| {
                let path = package.manifest_path.as_std_path();
                (package.name.to_string(), path.strip_prefix(root).unwrap_or(path).to_path_buf())
            })
            .collect();
        let mut below = BTreeMap::new();
        for node in metadata.resolve.as_ref().context("cargo metadata resolved nothing")?.nodes.iter() {
            let real = node
                .deps
                .iter()
                .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development));
            below.insert(name(&node.id), real.map(|dependency| name(&dependency.pkg)).collect());
        }
        Ok(Graph { below, manifests })
    }

    pub fn check(&self, root: &Path) -> Vec<Breach> {
        let mut breaches = Vec::new();
        for wall in WALLS {
            for unwanted in wall.without {
                if let Some(chain) = self.chain(wall.of, unwanted) {
                    breaches.push(self.breach(root, &chain, wall.why));
                }
            }
        }
        for ours in self.manifests.keys().filter(|name| *name != JUDGE) {
            if let Some(chain) = self.chain(JUDGE, ours) {
                breaches.push(self.breach(root, &chain, "the judge shares no code with what it judges"));
            }
        }
        breaches
    }

    /// The shortest way from `of` down to `unwanted`, if there is one.
    fn chain(&self, of: &str, unwanted: &str) -> Option<Vec<String>> {
        let mut ways = VecDeque::from([vec![of.to_owned()]]);
        let mut seen = vec![of.to_owned()];
        while let Some(way) = ways.pop_front() {
            for next in self.below.get(way.last()?).into_iter().flatten() {
                if seen.contains(next) || BY_FEATURE.contains(&(way.last()?.as_str(), next.as_str())) {
                    continue;
                }
                seen.push(next.clone());
                let mut longer = way.clone();
                longer.push(next.clone());
                if next == unwanted {
                    return Some(longer);
                }
                ways.push_back(longer);
            }
        }
        None
    }

    /// The breach stands where the last of our own crates on the chain names the first that is not ours.
    fn breach(&self, root: &Path, chain: &[String], why: &str) -> Breach {
        let last_own =
            chain.iter().take(chain.len() - 1).rposition(|name| self.manifests.contains_key(name)).unwrap_or(0);
        let file = self.manifests.get(&chain[last_own]).cloned().unwrap_or_else(|| PathBuf::from("Cargo.toml"));
        let text = fs::read_to_string(root.join(&file)).unwrap_or_default();
        let dependency = &chain[last_own + 1];
        let named = text.lines().position(|line| line.trim_start().starts_with(dependency.as_str()));
        Breach { file, line: named.map_or(1, |line| line + 1), what: format!("{}: {why}", chain.join(" → ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &[&str])], ours: &[&str]) -> Graph {
        Graph {
            below: edges
                .iter()
                .map(|(of, to)| ((*of).to_owned(), to.iter().map(|to| (*to).to_owned()).collect()))
                .collect(),
            manifests: ours
                .iter()
                .map(|name| ((*name).to_owned(), PathBuf::from(format!("{name}/Cargo.toml"))))
                .collect(),
        }
    }

    #[test]
    fn a_forbidden_crate_far_below_is_found_with_the_chain_and_the_line_that_lets_it_in() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("fairlead-kernel")).unwrap();
        let manifest = root.path().join("fairlead-kernel/Cargo.toml");
        fs::write(manifest, "[dependencies]\nlibc = \"1\"\nrtnetlink = \"1\"\n").unwrap();
        let edges: &[(&str, &[&str])] = &[
            ("fairlead-cni", &["fairlead-kernel"]),
            ("fairlead-kernel", &["libc", "rtnetlink"]),
            ("rtnetlink", &["tokio"]),
        ];
        let breaches = graph(edges, &["fairlead-cni", "fairlead-kernel"]).check(root.path());
        let said: Vec<_> = breaches.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "fairlead-kernel/Cargo.toml:3: fairlead-cni → fairlead-kernel → rtnetlink → tokio: a plugin is one thread: no runtime",
                "fairlead-kernel/Cargo.toml:3: fairlead-kernel → rtnetlink → tokio: kernel knows no CNI",
            ]
        );
    }

    #[test]
    fn the_judge_may_not_lean_on_what_it_judges() {
        let graph = graph(&[(JUDGE, &["fairlead-protocol"])], &[JUDGE, "fairlead-protocol"]);
        assert_eq!(graph.check(Path::new("/nowhere")).len(), 1);
    }

    #[test]
    fn every_crate_with_a_wall_exists() {
        let graph = Graph::load(crate::place::workspace()).unwrap();
        for wall in WALLS {
            assert!(graph.manifests.contains_key(wall.of), "{} is no crate of this workspace any more", wall.of);
        }
    }
}
