//! Which version a file is: a stamp in the binary, so that nothing has to be started to know it. Pure.

use std::cmp::Ordering;

/// What the stamp begins with.
const BEFORE: &[u8] = b"fairlead-cni is version ";
const AFTER: u8 = b';';

/// The stamp of this binary.
#[used]
static STAMP: &str = concat!("fairlead-cni is version ", env!("CARGO_PKG_VERSION"), ";");

/// The version of this binary.
pub fn own() -> &'static str {
    // Read through the stamp, so that no linker takes it for unused.
    std::hint::black_box(STAMP).trim_start_matches(|c: char| !c.is_ascii_digit()).trim_end_matches(';')
}

/// The version of a fairlead-cni by the bytes of its file. `None`: the file is something else.
pub fn of(bytes: &[u8]) -> Option<String> {
    let mut rest = bytes;
    while let Some(at) = find(rest, BEFORE) {
        rest = &rest[at + BEFORE.len()..];
        // The words above are in the binary too, without a version behind them.
        let end = rest.iter().take(64).position(|byte| *byte == AFTER);
        if let Some(version) = end.and_then(|end| std::str::from_utf8(&rest[..end]).ok())
            && is_version(version)
        {
            return Some(version.to_owned());
        }
    }
    None
}

fn is_version(text: &str) -> bool {
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    numbers.split('.').count() == 3
        && numbers.split('.').all(|number| number.parse::<u64>().is_ok())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = wanted[0];
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
        if bytes[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// Semantic versions in their order: numbers, then a pre-release before its release.
pub fn compare(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| {
        let text = text.split('+').next().unwrap_or_default();
        let (numbers, pre) = text.split_once('-').map_or((text, None), |(numbers, pre)| (numbers, Some(pre)));
        let numbers: Vec<u64> = numbers.split('.').map(|number| number.parse().unwrap_or(0)).collect();
        (numbers, pre.map(str::to_owned))
    };
    let ((numbers_a, pre_a), (numbers_b, pre_b)) = (parts(a), parts(b));
    numbers_a.cmp(&numbers_b).then_with(|| match (pre_a, pre_b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => words(&a).cmp(&words(&b)),
    })
}

/// `rc.10` after `rc.9`: numbers as numbers, and before words.
fn words(pre: &str) -> Vec<(bool, u64, String)> {
    pre.split('.')
        .map(|word| word.parse().map_or((true, 0, word.to_owned()), |number| (false, number, String::new())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_their_order() {
        let sorted = ["0.1.0-rc.9", "0.1.0-rc.10", "0.1.0", "0.2.0", "0.10.0", "1.0.0-alpha", "1.0.0"];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn a_stamp_is_found_among_other_bytes() {
        assert_eq!(own(), env!("CARGO_PKG_VERSION"));
        let bytes = [b"\x7fELF fairlead-cni is version \0\0".as_slice(), b"f", STAMP.as_bytes(), b"\0x"].concat();
        assert_eq!(of(&bytes).as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(of(b"#!/bin/sh\necho fairlead-cni is version none;"), None);
        for bytes in [
            b"fairlead-cni is version 1.0.0".as_slice(),
            b"fairlead-cni is version 1;",
            b"fairlead-cni is version 1.0.\n;",
        ] {
            assert_eq!(of(bytes), None);
        }
    }
}
