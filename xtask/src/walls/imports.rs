//! Words that may not occur in a room: paths, identifiers, `async` and literals, each with the reason.

use super::{Breach, source::Source};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// The rooms whose code runs inside `fairlead-cni`.
const IN_A_PLUGIN: &[&str] = &["plugins/src", "plugins/protocol/src", "plugins/kernel/src"];
/// The rooms that only compute.
const PURE: &[&str] = &["proxy/model/src", "plugins/overlay/model/src", "ebpf/shared/src"];
/// The daemons, and in each the one room where the API's shapes may occur.
const CONVERTERS: &[(&str, &str)] =
    &[("proxy/src", "proxy/src/convert"), ("plugins/overlay/agent/src", "plugins/overlay/agent/src/convert")];
/// Paths that mean a look at the outside world.
const OUTSIDE: &[&str] = &[
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "std::os",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::io::stdin",
    "std::io::stdout",
    "tokio",
    "nix",
    "libc",
    "tracing",
];
/// Crates and words of the Kubernetes API.
const KUBERNETES: &[&str] = &["k8s_openapi", "kube"];
/// Knows how to reach an API server, and no shape of what is there.
const KUBERNETES_CLIENT: &str = "proxy/src/sources/kubernetes/access.rs";
/// Reads kube-proxy's own file, which is written like an object of the API and is none.
const KUBE_PROXY_CONFIGURATION: &str = "proxy/src/config/";
const KUBERNETES_LITERALS: &[&str] =
    &["apiVersion", "endpointslices", "clusterIP", "clusterIPs", "discovery.k8s.io/v1"];

pub fn check(sources: &[Source]) -> Vec<Breach> {
    sources.iter().flat_map(check_one).collect()
}

fn check_one(source: &Source) -> Vec<Breach> {
    let mut words = Words::default();
    words.visit_file(&source.tree);
    let mut found: Vec<(usize, String)> = Vec::new();
    let file = source.path.to_string_lossy();
    let inside = |rooms: &[&str]| rooms.iter().any(|room| source.is_in(room));

    if inside(IN_A_PLUGIN) {
        found.extend(words.waits.iter().map(|line| (*line, "async code in what fairlead-cni runs".to_owned())));
        let threads = words.paths.iter().filter(|(_, path)| makes_threads(path) || begins(path, "tokio"));
        found.extend(threads.map(|(line, path)| (*line, format!("{path}: a plugin has one thread and no runtime"))));
    }
    if source.is_in("plugins/kernel/src") {
        let cni = words.literals.iter().filter(|(_, text)| text.starts_with("CNI_") || text == "cniVersion");
        found.extend(cni.map(|(line, text)| (*line, format!("{text:?}: kernel knows no CNI"))));
    }
    if inside(PURE) {
        for (line, path) in &words.paths {
            if let Some(outside) = OUTSIDE.iter().find(|outside| begins(path, outside)) {
                found.push((*line, format!("{outside}: this room only computes; hand the value in")));
            }
        }
    }
    if let Some(own) = plugin_of(&file) {
        for (line, path) in &words.paths {
            if let Some(other) = plugin_of_path(path).filter(|other| *other != own) {
                found.push((*line, format!("plugin {own} imports plugin {other}: share through protocol or kernel")));
            }
        }
    }
    for (daemon, converter) in CONVERTERS {
        if source.is_in(daemon) && !file.starts_with(converter) && !file.starts_with(KUBE_PROXY_CONFIGURATION) {
            let crates = if file == KUBERNETES_CLIENT { &[] } else { KUBERNETES };
            found.extend(kubernetes(&words, crates, converter));
        }
    }
    found.into_iter().map(|(line, what)| Breach { file: source.path.clone(), line, what }).collect()
}

fn kubernetes(words: &Words, crates: &[&str], converter: &str) -> Vec<(usize, String)> {
    let of_crates = words.paths.iter().filter(|(_, path)| crates.iter().any(|name| begins(path, name)));
    let of_text = words.literals.iter().filter(|(_, text)| KUBERNETES_LITERALS.contains(&text.as_str()));
    of_crates
        .chain(of_text)
        .map(|(line, word)| (*line, format!("{word:?}: shapes of the Kubernetes API belong in {converter}")))
        .collect()
}

/// `plugins/src/main/bridge/plan.rs` → `main::bridge`; the table files are nobody's.
fn plugin_of(file: &str) -> Option<String> {
    let rest = file.strip_prefix("plugins/src/")?;
    let mut parts = rest.split('/');
    let (kind, name) = (parts.next()?, parts.next()?.trim_end_matches(".rs"));
    (["main", "ipam", "meta"].contains(&kind) && name != "mod").then(|| format!("{kind}::{name}"))
}

/// `crate::ipam::host_local::Lease` → `ipam::host_local`.
fn plugin_of_path(path: &str) -> Option<String> {
    let mut parts = path.strip_prefix("crate::")?.split("::");
    let (kind, name) = (parts.next()?, parts.next()?);
    (["main", "ipam", "meta"].contains(&kind)).then(|| format!("{kind}::{name}"))
}

/// `std::thread::spawn`, or `thread::spawn` where the module is imported. Sleeping makes no thread.
fn makes_threads(path: &str) -> bool {
    ["spawn", "scope", "Builder"]
        .iter()
        .any(|deed| path.split("thread::").nth(1).is_some_and(|rest| begins(rest, deed)))
}

/// Is `path` the item `prefix` or below it?
fn begins(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// What is asked about a file; items under `#[cfg(test)]` are left out.
#[derive(Default)]
struct Words {
    /// Full paths of `use` and of expressions, with their lines.
    paths: Vec<(usize, String)>,
    /// String literals.
    literals: Vec<(usize, String)>,
    /// `async` and `.await`.
    waits: Vec<usize>,
}

impl<'ast> Visit<'ast> for Words {
    fn visit_item_mod(&mut self, node: &'ast syn::ItemMod) {
        if !is_test(&node.attrs) {
            visit::visit_item_mod(self, node);
        }
    }

    fn visit_item_use(&mut self, node: &'ast syn::ItemUse) {
        if !is_test(&node.attrs) {
            spell(&node.tree, "", &mut self.paths);
        }
    }

    fn visit_path(&mut self, node: &'ast syn::Path) {
        let path: Vec<String> = node.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.paths.push((node.span().start().line, path.join("::")));
        visit::visit_path(self, node);
    }

    fn visit_lit_str(&mut self, node: &'ast syn::LitStr) {
        self.literals.push((node.span().start().line, node.value()));
    }

    fn visit_attribute(&mut self, node: &'ast syn::Attribute) {
        // Doc comments are attributes with a literal; serde's renames are tokens.
        if let syn::Meta::List(list) = &node.meta {
            for token in list.tokens.clone() {
                if let proc_macro2::TokenTree::Literal(literal) = token {
                    let text = literal.to_string().trim_matches('"').to_owned();
                    self.literals.push((literal.span().start().line, text));
                }
            }
        }
    }

    fn visit_signature(&mut self, node: &'ast syn::Signature) {
        self.waits.extend(node.asyncness.map(|token| token.span.start().line));
        visit::visit_signature(self, node);
    }

    fn visit_expr_await(&mut self, node: &'ast syn::ExprAwait) {
        self.waits.push(node.await_token.span.start().line);
        visit::visit_expr_await(self, node);
    }

    fn visit_expr_async(&mut self, node: &'ast syn::ExprAsync) {
        self.waits.push(node.async_token.span.start().line);
        visit::visit_expr_async(self, node);
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

/// Write out a `use` tree, one path a leaf.
fn spell(tree: &syn::UseTree, prefix: &str, paths: &mut Vec<(usize, String)>) {
    let joined = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}::{name}") };
    match tree {
        syn::UseTree::Path(path) => spell(&path.tree, &joined(&path.ident.to_string()), paths),
        syn::UseTree::Name(name) if name.ident == "self" => paths.push((name.span().start().line, prefix.to_owned())),
        syn::UseTree::Name(name) => paths.push((name.span().start().line, joined(&name.ident.to_string()))),
        syn::UseTree::Rename(name) => paths.push((name.span().start().line, joined(&name.ident.to_string()))),
        syn::UseTree::Glob(glob) => paths.push((glob.span().start().line, prefix.to_owned())),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| spell(tree, prefix, paths)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        let source = Source::parse(path, text).unwrap();
        check(&[source]).into_iter().map(|breach| (breach.line, breach.what)).collect()
    }

    /// Rows: file, a text that is wrong there, its line, a word of the complaint, a file where it is right.
    #[test]
    fn each_wall_refuses_what_it_stands_against_and_nothing_else() {
        let rows = [
            ("plugins/src/main/bridge/mod.rs", "\nasync fn add() {}", 2, "async", "proxy/src/apply.rs"),
            (
                "plugins/kernel/src/netns.rs",
                "fn a() { std::thread::spawn(b); }",
                1,
                "thread",
                "conformance/src/lab/node.rs",
            ),
            ("plugins/kernel/src/link.rs", "const A: &str = \"CNI_ARGS\";", 1, "no CNI", "plugins/protocol/src/env.rs"),
            ("proxy/model/src/diff.rs", "use std::{fmt,\n    fs::File};", 2, "std::fs", "proxy/src/files.rs"),
            ("proxy/model/src/diff.rs", "fn a() { std::time::Instant::now(); }", 1, "Instant", "proxy/src/apply.rs"),
            (
                "plugins/src/main/bridge/mod.rs",
                "use crate::ipam::host_local::Lease;",
                1,
                "imports",
                "plugins/src/lib.rs",
            ),
            ("proxy/src/apply.rs", "use kube::Client;", 1, "convert", "proxy/src/convert/mod.rs"),
            ("proxy/src/sources/mod.rs", "use kube::Config;", 1, "convert", "proxy/src/sources/kubernetes/access.rs"),
            (
                "proxy/src/apply.rs",
                "struct A { #[serde(rename = \"clusterIP\")] b: u8 }",
                1,
                "clusterIP",
                "proxy/src/convert/service.rs",
            ),
            ("proxy/src/events/mod.rs", "const A: &str = \"apiVersion\";", 1, "convert", "proxy/src/config/write.rs"),
        ];
        for (bad, text, line, word, good) in rows {
            let breaches = found(bad, text);
            assert_eq!(breaches.len(), 1, "{bad}: {text}: {breaches:?}");
            assert_eq!(breaches[0].0, line, "{bad}: {text}");
            assert!(breaches[0].1.contains(word), "{bad}: {text}: {}", breaches[0].1);
            assert_eq!(found(good, text), [], "{good}: {text}");
        }
    }

    #[test]
    fn what_only_tests_use_is_not_asked() {
        let text = "#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n#[cfg(test)]\nuse std::thread;\n";
        assert_eq!(found("proxy/model/src/diff.rs", text), []);
    }
}
