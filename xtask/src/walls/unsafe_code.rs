//! Unsafe code behind three doors only, and each use with the fact that makes it true.

use super::{Breach, source::Source};
use proc_macro2::Span;
use syn::visit::{self, Visit};

/// Where unsafe code may stand.
const DOORS: &[&str] = &["plugins/kernel", "ebpf/programs", "ebpf/shared/src/user.rs"];
/// How many lines above an unsafe block its reason may begin.
const REACH: usize = 8;

pub fn check(sources: &[Source]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for source in sources {
        let mut finder = Finder::default();
        finder.visit_file(&source.tree);
        let behind_a_door = DOORS.iter().any(|door| source.is_in(door));
        for (span, reasoned) in finder.found {
            let line = span.start().line;
            let what = if !behind_a_door {
                format!("unsafe code: it belongs in {}", DOORS.join(", "))
            } else if reasoned && !has_reason(&source.text, line) {
                "unsafe block without a `// SAFETY:` comment above it".to_owned()
            } else {
                continue;
            };
            breaches.push(Breach { file: source.path.clone(), line, what });
        }
    }
    breaches
}

fn has_reason(text: &str, line: usize) -> bool {
    let above = text.lines().take(line).skip(line.saturating_sub(REACH + 1));
    above.into_iter().any(|line| line.contains("SAFETY:") || line.contains("# Safety"))
}

/// Spans of unsafe code; `true` for those that need a reason of their own.
#[derive(Default)]
struct Finder {
    found: Vec<(Span, bool)>,
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_expr_unsafe(&mut self, node: &'ast syn::ExprUnsafe) {
        self.found.push((node.unsafe_token.span, true));
        visit::visit_expr_unsafe(self, node);
    }

    fn visit_signature(&mut self, node: &'ast syn::Signature) {
        self.found.extend(node.unsafety.map(|token| (token.span, false)));
        visit::visit_signature(self, node);
    }

    fn visit_item_impl(&mut self, node: &'ast syn::ItemImpl) {
        self.found.extend(node.unsafety.map(|token| (token.span, true)));
        visit::visit_item_impl(self, node);
    }

    fn visit_item_foreign_mod(&mut self, node: &'ast syn::ItemForeignMod) {
        self.found.extend(node.unsafety.map(|token| (token.span, false)));
        visit::visit_item_foreign_mod(self, node);
    }

    fn visit_attribute(&mut self, node: &'ast syn::Attribute) {
        let list = node.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
        let allows = (node.path().is_ident("allow") || node.path().is_ident("expect")) && list.contains("unsafe_code");
        if allows || node.path().is_ident("unsafe") {
            self.found.push((node.pound_token.span, false));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&[Source::parse(path, text).unwrap()]).iter().map(|breach| breach.line).collect()
    }

    #[test]
    fn every_form_of_unsafe_outside_the_doors_is_a_breach() {
        let text = "fn a() {\n    unsafe { b() }\n}\nunsafe fn c() {}\nunsafe impl D for E {}\n#[unsafe(no_mangle)]\nfn f() {}\n\
                    #[allow(unsafe_code)]\nmod g {}\n";
        assert_eq!(lines("proxy/src/apply.rs", text), [2, 4, 5, 6, 8]);
    }

    #[test]
    fn behind_a_door_a_block_needs_its_reason() {
        let with = "fn a() {\n    // SAFETY: b asks for nothing.\n    unsafe { b() }\n}\n";
        let without = "fn a() {\n    unsafe { b() }\n}\n";
        assert_eq!(lines("plugins/kernel/src/bpf.rs", with), [] as [usize; 0]);
        assert_eq!(lines("plugins/kernel/src/bpf.rs", without), [2]);
        assert_eq!(lines("ebpf/shared/src/keys.rs", with), [3]);
    }
}
