//! What other people's bytes go through here, as functions of bytes that must neither panic nor hang: targets of
//! `cargo xtask fuzz`, and a unit test that feeds them the corpus. Nothing is written.

use crate::{config, sources};

/// Name and deed.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub fn targets() -> impl Iterator<Item = Target> {
    sources::fuzz::TARGETS.iter().copied().chain([("kube_proxy_config", config::fuzz::config as fn(&[u8]))])
}

#[cfg(test)]
mod tests {
    /// The fuzzer's own seeds, and what it found once: without the fuzzer.
    #[test]
    fn the_corpus_is_survived() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        for (name, target) in super::targets() {
            let seeds =
                std::fs::read_dir(corpus.join(name)).unwrap_or_else(|error| panic!("corpus of {name}: {error}"));
            let mut count = 0;
            for seed in seeds {
                target(&std::fs::read(seed.unwrap().path()).unwrap());
                count += 1;
            }
            assert!(count > 0, "{name} has no seeds");
            for text in [&b""[..], b"{", b"\0", b"\xff\xfe", b"[[[[", b"a: &a [*a, *a]", b"---\n---\n"] {
                target(text);
            }
        }
    }
}
