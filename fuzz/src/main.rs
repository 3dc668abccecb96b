//! The fuzz targets: one binary, so that they are linked once. `FAIRLEAD_FUZZ` says which one runs; the rest of the
//! command line is libFuzzer's. `cargo xtask fuzz` builds and calls it.
//!
//! A target takes bytes as somebody else would write them, and must neither panic nor hang. What each one reads is in the
//! crates themselves (`fuzz.rs`), because most parsers are not public.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{Corpus, fuzz_target};

/// Name and deed of every target.
fn targets() -> impl Iterator<Item = (&'static str, fn(&[u8]))> {
    fairlead_cni::fuzz::TARGETS
        .iter()
        .chain(fairlead_kernel::fuzz::TARGETS)
        .copied()
        .chain(fairlead_proxy::fuzz::targets())
}

static CHOSEN: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("FAIRLEAD_FUZZ").unwrap_or_default();
    if let Some((_, deed)) = targets().find(|(name, _)| *name == wanted) {
        return deed;
    }
    let names: Vec<&str> = targets().map(|(name, _)| name).collect();
    // `cargo xtask fuzz` reads this line.
    println!("{}", names.join(" "));
    std::process::exit(2);
});

fuzz_target!(|data: &[u8]| -> Corpus {
    (*CHOSEN)(data);
    Corpus::Keep
});
