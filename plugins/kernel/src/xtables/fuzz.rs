//! A whole table as the kernel may give it, read, changed and written, for the fuzzer.

use super::entry::Family;
use super::ruleset::{HOOKS, Offsets, Ruleset};

/// The offsets of ten chains' ends, then the entries.
pub(crate) fn table(bytes: &[u8]) {
    let Some((head, entries)) = bytes.split_at_checked(8 * HOOKS) else { return };
    let number = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let numbers = |from: usize| std::array::from_fn(|hook| number(4 * (from + hook)));
    let offsets = Offsets { hooks: numbers(0), policies: numbers(HOOKS) };
    for family in [Family::V4, Family::V6] {
        let Some(mut rules) = Ruleset::parse(family, 0b0_1110, &offsets, entries) else { continue };
        let _ = rules.drops();
        if rules.is_ours() {
            rules.remove();
        }
        rules.ensure("CNI-ADMIN");
        let (bytes, offsets) = rules.write();
        assert!(Ruleset::parse(family, 0b0_1110, &offsets, &bytes).is_some(), "what is written can be read");
    }
}
