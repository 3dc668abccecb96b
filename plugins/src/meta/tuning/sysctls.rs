//! Sysctls: as the configuration says them, as the administrator allows them, as the kernel names them.

use std::fmt;
use std::fs;
use std::io::ErrorKind;

use fairlead_protocol::{CniError, Code, gojson};
use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};

/// One regular expression a line, as in the reference; where the file is not, everything below `net` is allowed.
const ALLOWED: &str = "/etc/cni/tuning/allowlist.conf";

/// The pairs of the configuration's `sysctl`, in the order they stand there. Read from the text, because a map of decoded
/// JSON keeps of two equal keys only the last: which of two values wins must not be left to chance.
/// Errors: code 7 for a key that stands twice, code 6 for what is no map of texts.
pub fn written(stdin: &[u8]) -> Result<Vec<(String, String)>, CniError> {
    let text = String::from_utf8_lossy(stdin);
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(&text);
    reader
        .deserialize_map(Document(&mut pairs))
        .map_err(|error| CniError::new(Code::Decode, format!("failed to load netconf: sysctl: {error}")))?;
    for (at, (key, _)) in pairs.iter().enumerate() {
        if pairs[..at].iter().any(|(earlier, _)| earlier == key) {
            let error = CniError::config("duplicated sysctl keys are not allowed");
            return Err(error.with_details(format!("{key} stands twice")));
        }
    }
    Ok(pairs)
}

/// The whole configuration, of which only one key matters, however it is spelt.
struct Document<'a>(&'a mut Vec<(String, String)>);

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if gojson::same_key(&key, "sysctl") {
                map.next_value_seed(Pairs(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

struct Pairs<'a>(&'a mut Vec<(String, String)>);

impl<'de> DeserializeSeed<'de> for Pairs<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pairs<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry::<String, Option<String>>()? {
            self.0.push((key, value.unwrap_or_default()));
        }
        Ok(())
    }
}

/// The administrator's list. Errors: code 5 when the file is there and cannot be read; code 7 for a key that no line
/// allows, or a line that is no expression.
pub fn check_allowed(sysctls: &[(String, String)]) -> Result<(), CniError> {
    match fs::read_to_string(ALLOWED) {
        Ok(list) => check_against(&list, sysctls),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(CniError::new(Code::Io, format!("read {ALLOWED}: {error}"))),
    }
}

/// Lines are tried in order, and only as far as needed, as the reference does it.
fn check_against(list: &str, sysctls: &[(String, String)]) -> Result<(), CniError> {
    let lines: Vec<&str> = list.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let expressions: Vec<_> = lines.iter().map(|line| regex_lite::Regex::new(line)).collect();
    for (key, _) in sysctls {
        let mut allowed = false;
        for (line, expression) in lines.iter().zip(&expressions) {
            match expression {
                Ok(expression) if expression.is_match(key) => {
                    allowed = true;
                    break;
                }
                Ok(_) => {}
                Err(error) => return Err(CniError::config(format!("{ALLOWED}: {line:?}: {error}"))),
            }
        }
        if !allowed {
            let lines = lines.join(" ");
            let text = format!("Sysctl {key} is not allowed. Only the following sysctls are allowed: [{lines}]");
            return Err(CniError::config(text));
        }
    }
    Ok(())
}

/// The kernel's name of a key, below `/proc/sys`: `net.ipv4.conf.IFNAME.arp_filter` → `net/ipv4/conf/eth0/arp_filter`.
/// Errors: code 7 for a key that is not one of the network's, or a value that is more than one line: a list of sysctls that
/// somebody else reads back could take the rest for keys of its own.
pub fn kernel_key(key: &str, value: &str, ifname: &str) -> Result<String, CniError> {
    let slashes = key.replace('.', "/").replacen("IFNAME", ifname, 1);
    let parts: Vec<&str> = slashes.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let inside = parts.len() > 1 && parts[0] == "net" && !parts.contains(&"..");
    if !inside || key.contains(char::is_control) {
        return Err(CniError::config(format!("invalid net sysctl key: {slashes:?}")));
    }
    if value.contains(|letter: char| letter.is_control() && letter != '\t') {
        return Err(CniError::config(format!(
            "invalid value {value:?} of sysctl {key}: it has to be one line of text"
        )));
    }
    Ok(parts.join("/"))
}

/// Numbers of one sysctl are separated by tabs when they are read and by anything when they are written.
pub fn is_same(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Result<Vec<(String, String)>, CniError> {
        written(text.as_bytes())
    }

    fn texts(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_order_is_that_of_the_text_and_every_spelling_counts() {
        let text = r#"{"sysctl": {"net.z": "1", "net.a": null}, "mtu": [{"sysctl": 1}], "SysCtl": {"net.m": "2"}}"#;
        assert_eq!(pairs(text).unwrap(), texts(&[("net.z", "1"), ("net.a", ""), ("net.m", "2")]));
        assert_eq!(pairs(r#"{"sysctl": null}"#).unwrap(), []);
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_and_so_is_what_is_no_text() {
        for text in
            [r#"{"sysctl": {"net.a": "1", "net.a": "2"}}"#, r#"{"sysctl": {"net.a": "1"}, "sysctl": {"net.a": "1"}}"#]
        {
            assert_eq!(pairs(text).unwrap_err().msg, "duplicated sysctl keys are not allowed");
        }
        for text in [r#"{"sysctl": {"net.a": 1}}"#, r#"{"sysctl": ["net.a"]}"#, r#"{"sysctl": "x"}"#] {
            let error = pairs(text).unwrap_err();
            assert_eq!(error.code, Code::Decode);
            assert!(error.msg.starts_with("failed to load netconf: sysctl: invalid type"), "{error}");
        }
    }

    #[test]
    fn the_list_holds_expressions_that_match_anywhere() {
        let list = "  ^net\\.ipv4\\.conf\\.all\\..*\n\nipv6\r\n";
        check_against(list, &texts(&[("net.ipv4.conf.all.x", ""), ("net/ipv6/y", "")])).unwrap();
        let error = check_against(list, &texts(&[("net.core.somaxconn", "")])).unwrap_err();
        let allowed = "[^net\\.ipv4\\.conf\\.all\\..* ipv6]";
        let text =
            format!("Sysctl net.core.somaxconn is not allowed. Only the following sysctls are allowed: {allowed}");
        assert_eq!(error.msg, text);
        let broken = "^net\\.b\nnet(";
        assert!(check_against(broken, &texts(&[("net.a", "")])).unwrap_err().msg.contains("allowlist.conf: \"net(\""));
        check_against(broken, &texts(&[("net.b", "")])).unwrap();
        assert!(check_against("", &texts(&[("net.a", "")])).is_err(), "an empty list allows nothing");
    }

    #[test]
    fn a_key_leads_to_a_place_below_net_and_nowhere_else() {
        let key = |key: &str| kernel_key(key, "1", "eth0.7");
        assert_eq!(key("net.ipv4.conf.IFNAME.arp_filter").unwrap(), "net/ipv4/conf/eth0.7/arp_filter");
        assert_eq!(key("net/ipv4//ip_forward").unwrap(), "net/ipv4/ip_forward");
        for bad in ["kernel.shm_rmid_forced", "net", "net.", "", "IFNAME", "net.a\nb", "netx.y"] {
            let error = key(bad).unwrap_err();
            assert!(error.msg.starts_with("invalid net sysctl key: "), "{bad}: {error}");
        }
        // Two dots are two separators: nothing climbs.
        assert_eq!(key("net/../kernel/core_pattern").unwrap(), "net/kernel/core_pattern");
        assert!(kernel_key("net.x", "1", "..").is_ok());
        assert!(kernel_key("net.IFNAME.x", "1", "..").unwrap_err().msg.starts_with("invalid net sysctl key"));
    }

    #[test]
    fn a_value_is_one_line() {
        kernel_key("net.ipv4.tcp_rmem", "4096\t87380\t6291456", "eth0").unwrap();
        for bad in ["1\nkernel.core_pattern=x", "1\r", "1\0"] {
            assert!(kernel_key("net.a", bad, "eth0").unwrap_err().msg.contains("one line"), "{bad:?}");
        }
    }

    #[test]
    fn blanks_and_tabs_are_the_same() {
        assert!(is_same("4096 87380", "4096\t87380\n"));
        assert!(!is_same("4096 87380", "409687380"));
    }
}
