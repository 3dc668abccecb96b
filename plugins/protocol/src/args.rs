//! `CNI_ARGS`: `KEY=value;KEY=value`, by the reference's grammar (pkg/types/args.go, v1.3.0).

/// The pairs a plugin knows, and what it does with the others.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Args {
    known: Vec<(String, String)>,
}

impl Args {
    /// Reads the pairs; keys are matched exactly. Errors, in the reference's words: a part without exactly one `=`;
    /// keys not in `known`, unless `IgnoreUnknown` is `1` or `true`.
    pub fn parse(text: &str, known: &[&str]) -> Result<Args, String> {
        let (args, unknown, ignore) = Args::read(text, known)?;
        if !unknown.is_empty() && !ignore {
            return Err(format!("ARGS: unknown args [{}]", unknown.join(" ")));
        }
        Ok(args)
    }

    /// As [`Args::parse`], but nothing is an error: for DEL, which must not fail over what it does not need.
    pub fn parse_lenient(text: &str, known: &[&str]) -> Args {
        let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
        let known = pairs.filter(|(key, _)| known.contains(key)).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        Args { known }
    }

    /// The last value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.known.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn read(text: &str, known: &[&str]) -> Result<(Args, Vec<String>, bool), String> {
        let (mut args, mut unknown, mut ignore) = (Args::default(), Vec::new(), false);
        if text.is_empty() {
            return Ok((args, unknown, ignore));
        }
        for pair in text.split(';') {
            let mut parts = pair.split('=');
            let (Some(key), Some(value), None) = (parts.next(), parts.next(), parts.next()) else {
                return Err(format!("ARGS: invalid pair {pair:?}"));
            };
            if key == "IgnoreUnknown" {
                ignore =
                    boolean(value).map_err(|reason| format!("ARGS: error parsing value of pair {pair:?}: {reason}"))?;
            } else if known.contains(&key) {
                args.known.push((key.to_owned(), value.to_owned()));
            } else {
                unknown.push(format!("{pair:?}"));
            }
        }
        Ok((args, unknown, ignore))
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        other => Err(format!("boolean unmarshal error: invalid input {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_exactly_one_equals_sign() {
        for bad in ["a=b=c", "IP=1;", ";", "IP", "IP=1;;MAC=2"] {
            assert!(Args::parse(bad, &["IP", "MAC", "a"]).unwrap_err().starts_with("ARGS: invalid pair "), "{bad}");
        }
        assert_eq!(Args::parse("", &["IP"]), Ok(Args::default()));
        assert_eq!(Args::parse("IP=1;MAC=", &["IP", "MAC"]).unwrap().get("MAC"), Some(""));
    }

    #[test]
    fn unknown_keys_are_an_error_unless_they_are_to_be_ignored() {
        assert_eq!(Args::parse("A=1;ip=2", &["IP"]), Err("ARGS: unknown args [\"A=1\" \"ip=2\"]".into()));
        for text in ["A=1;IgnoreUnknown=1;IP=x", "IgnoreUnknown=True;A=1;IP=x", "IP=x;A=1;IgnoreUnknown=TRUE"] {
            assert_eq!(Args::parse(text, &["IP"]).unwrap().get("IP"), Some("x"));
        }
        assert!(Args::parse("A=1;IgnoreUnknown=0", &["IP"]).is_err());
        assert!(Args::parse("IgnoreUnknown=yes", &["IP"]).unwrap_err().contains("boolean unmarshal error"));
    }

    #[test]
    fn the_last_pair_of_a_key_wins() {
        assert_eq!(Args::parse("IP=1;IP=2", &["IP"]).unwrap().get("IP"), Some("2"));
    }

    #[test]
    fn the_lenient_reading_takes_what_it_can() {
        let args = Args::parse_lenient("junk;A=1;MAC=x;", &["MAC"]);
        assert_eq!((args.get("MAC"), args.get("A")), (Some("x"), None));
    }
}
