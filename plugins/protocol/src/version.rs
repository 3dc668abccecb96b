//! The seven published versions of the protocol.

use std::fmt;

use crate::{CniError, Code};

/// A published version of the CNI specification. Ordered by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Version {
    V0_1_0,
    V0_2_0,
    V0_3_0,
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

impl Version {
    /// Every version, oldest first.
    pub const ALL: [Version; 7] = [
        Version::V0_1_0,
        Version::V0_2_0,
        Version::V0_3_0,
        Version::V0_3_1,
        Version::V0_4_0,
        Version::V1_0_0,
        Version::V1_1_0,
    ];

    /// The newest version.
    pub const NEWEST: Version = Version::V1_1_0;

    /// The text of `cniVersion`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V0_1_0 => "0.1.0",
            Version::V0_2_0 => "0.2.0",
            Version::V0_3_0 => "0.3.0",
            Version::V0_3_1 => "0.3.1",
            Version::V0_4_0 => "0.4.0",
            Version::V1_0_0 => "1.0.0",
            Version::V1_1_0 => "1.1.0",
        }
    }

    /// The version with exactly this text; no text means 0.1.0, as in the reference (older documents say 0.2.0).
    pub fn from_text(text: &str) -> Option<Version> {
        if text.is_empty() {
            return Some(Version::V0_1_0);
        }
        Version::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// True for 0.1.0 and 0.2.0, whose results must hold at least one address.
    pub fn results_need_an_address(self) -> bool {
        self < Version::V0_3_0
    }

    /// The generation whose results have the same shape.
    pub fn family(self) -> &'static [Version] {
        match self {
            Version::V0_1_0 | Version::V0_2_0 => &Version::ALL[..2],
            Version::V0_3_0 | Version::V0_3_1 | Version::V0_4_0 => &Version::ALL[2..5],
            Version::V1_0_0 | Version::V1_1_0 => &Version::ALL[5..],
        }
    }

    /// The refusal of a layer-2 ADD in 0.1.0 and 0.2.0, in the reference's words. To be called *before* the work: the
    /// reference finds out when it prints, and leaves everything it made behind.
    pub fn require_addresses(self, addresses_will_come: bool) -> Result<(), CniError> {
        if self.results_need_an_address() && !addresses_will_come {
            return Err(no_addresses());
        }
        Ok(())
    }
}

/// A result without an address cannot be said in 0.1.0 and 0.2.0.
pub(crate) fn no_addresses() -> CniError {
    CniError::new(Code::InvalidConfig, "cannot convert: no valid IP addresses")
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Numbers of a version text: `major.minor.micro`, where `1` and `1.1` stand for `1.0.0` and `1.1.0`; no text is 0.1.0.
///
/// Shape of the error: what is wrong, in the reference's words.
pub fn numbers(text: &str) -> Result<[u32; 3], String> {
    if text.is_empty() {
        return Ok([0, 1, 0]);
    }
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() >= 4 {
        return Err(format!("invalid version {text:?}: too many parts"));
    }
    let names = ["major", "minor", "micro"];
    let mut numbers = [0; 3];
    for (i, part) in parts.iter().enumerate() {
        let digits = part.strip_prefix('+').unwrap_or(part);
        numbers[i] = digits
            .parse()
            .map_err(|_| format!("failed to convert {} version part {part:?}: not a number", names[i]))?;
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_variants_is_the_order_of_the_numbers() {
        let mut last = [0; 3];
        for version in Version::ALL {
            let now = numbers(version.as_str()).unwrap();
            assert!(now > last);
            assert_eq!(Version::from_text(version.as_str()), Some(version));
            assert!(version.family().contains(&version));
            last = now;
        }
    }

    #[test]
    fn no_text_is_the_oldest_version() {
        assert_eq!(Version::from_text(""), Some(Version::V0_1_0));
        assert_eq!(numbers(""), Ok([0, 1, 0]));
    }

    #[test]
    fn short_versions_are_filled_up_and_junk_is_refused() {
        assert_eq!(numbers("1"), Ok([1, 0, 0]));
        assert_eq!(numbers("1.2"), Ok([1, 2, 0]));
        for junk in ["1.2.3.4", "a", "1.b", "1..2", "-1.0.0", "1.0.0-rc1"] {
            assert!(numbers(junk).is_err(), "{junk}");
        }
    }
}
