//! The values that a field of KubeProxyConfiguration can have, read from YAML or from a flag's text.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value as Json, json};

use super::duration;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number that fits into 32 bits with sign.
    Integer,
    /// A number.
    Number,
    /// Text.
    Text,
    /// A list of texts; as a flag separated by commas.
    List,
    /// A Go duration, as text.
    Duration,
    /// A Go duration, as text or as a number of nanoseconds.
    Pause,
    /// A number of bytes: a Kubernetes quantity.
    Quantity,
    /// Names with a switch each; as a flag `A=true,B=false`.
    Gates,
    /// File patterns with a verbosity each; as a flag `a=1,b=2`.
    Modules,
}

/// A value of such a kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of [`Kind::Switch`].
    Switch(bool),
    /// Of [`Kind::Integer`].
    Integer(i32),
    /// Of [`Kind::Number`].
    Number(f32),
    /// Of [`Kind::Text`] and [`Kind::Quantity`].
    Text(String),
    /// Of [`Kind::List`].
    List(Vec<String>),
    /// Of [`Kind::Duration`] and [`Kind::Pause`]: nanoseconds.
    Duration(i64),
    /// Of [`Kind::Gates`].
    Gates(BTreeMap<String, bool>),
    /// Of [`Kind::Modules`].
    Modules(Vec<(String, u32)>),
}

impl Kind {
    /// What may be written, for who wrote something else.
    pub const fn allowed(self) -> &'static str {
        match self {
            Self::Switch => "true or false",
            Self::Integer => "a whole number of at most 32 bits",
            Self::Number => "a number",
            Self::Text => "text (in quotes, if it looks like a number)",
            Self::List => "a list of texts",
            Self::Duration => "a duration as 5s, 1m or 2h22m",
            Self::Pause => "a duration as 5s, 1m or 2h22m, or a number of nanoseconds",
            Self::Quantity => "a number of bytes as 512, 1K or 2Ki",
            Self::Gates => "names with true or false each",
            Self::Modules => "a list of filePattern and verbosity",
        }
    }

    /// From a document. `None`: not of this kind. Nothing (`null`) is for the caller.
    pub fn read_json(self, json: &Json) -> Option<Value> {
        match (self, json) {
            (Self::Switch, _) => switch(json).map(Value::Switch),
            (Self::Integer, Json::Number(number)) => integer(number).map(Value::Integer),
            (Self::Number, Json::Number(number)) => number.as_f64().map(|number| Value::Number(number as f32)),
            (Self::Text | Self::Quantity, Json::String(text)) => self.read_text(text),
            (Self::Quantity, Json::Number(number)) => self.read_text(&number.to_string()),
            (Self::Duration | Self::Pause, Json::String(text)) => duration::parse(text).map(Value::Duration),
            (Self::Pause, Json::Number(number)) => number.as_i64().map(Value::Duration),
            (Self::List, Json::Array(items)) => {
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<_>>().map(Value::List)
            }
            (Self::Gates, Json::Object(gates)) => {
                let gates = gates.iter().map(|(name, on)| Some((name.clone(), switch(on)?)));
                gates.collect::<Option<_>>().map(Value::Gates)
            }
            (Self::Modules, Json::Array(items)) => items.iter().map(module).collect::<Option<_>>().map(Value::Modules),
            _ => None,
        }
    }

    /// From a flag, or a default. `None`: not of this kind.
    pub fn read_text(self, text: &str) -> Option<Value> {
        match self {
            // strconv.ParseBool.
            Self::Switch => match text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(Value::Switch(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(Value::Switch(false)),
                _ => None,
            },
            Self::Integer => text.parse().ok().map(Value::Integer),
            Self::Number => text.parse().ok().filter(|number: &f32| number.is_finite()).map(Value::Number),
            Self::Text => Some(Value::Text(text.to_owned())),
            Self::Quantity => is_quantity(text).then(|| Value::Text(text.to_owned())),
            Self::List => Some(Value::List(parts(text).map(str::to_owned).collect())),
            Self::Duration | Self::Pause => duration::parse(text).map(Value::Duration),
            Self::Gates => {
                let gates = parts(text).map(|part| {
                    let (name, on) = part.split_once('=')?;
                    match Self::Switch.read_text(on.trim())? {
                        Value::Switch(on) => Some((name.trim().to_owned(), on)),
                        _ => None,
                    }
                });
                gates.collect::<Option<_>>().map(Value::Gates)
            }
            Self::Modules => {
                let modules = parts(text).map(|part| {
                    let (pattern, verbosity) = part.split_once('=')?;
                    Some((pattern.to_owned(), verbosity.parse().ok()?))
                });
                modules.collect::<Option<_>>().map(Value::Modules)
            }
        }
    }
}

impl Value {
    /// What Go has where nothing was written.
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Switch(on) => !on,
            Self::Integer(number) => *number == 0,
            Self::Number(number) => *number == 0.0,
            Self::Text(text) => text.is_empty(),
            Self::List(list) => list.is_empty(),
            Self::Duration(nanos) => *nanos == 0,
            Self::Gates(gates) => gates.is_empty(),
            Self::Modules(modules) => modules.is_empty(),
        }
    }

    /// As `kube-proxy --write-config-to` writes it.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Switch(on) => json!(on),
            Self::Integer(number) => json!(number),
            Self::Number(number) if number.fract() == 0.0 => json!(*number as i64),
            Self::Number(number) => json!(number),
            Self::Text(text) => json!(text),
            Self::List(list) if list.is_empty() => Json::Null,
            Self::List(list) => json!(list),
            Self::Duration(nanos) => json!(duration::text(*nanos)),
            Self::Gates(gates) => json!(gates),
            Self::Modules(modules) => {
                let item = |(pattern, verbosity)| json!({"filePattern": pattern, "verbosity": verbosity});
                modules.iter().map(|(pattern, verbosity)| item((pattern, verbosity))).collect()
            }
        }
    }
}

/// kube-proxy's YAML is of version 1.1, where these words are switches too.
fn switch(json: &Json) -> Option<bool> {
    match json {
        Json::Bool(on) => Some(*on),
        Json::String(word) => match word.as_str() {
            "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
            "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn integer(number: &Number) -> Option<i32> {
    i32::try_from(number.as_i64()?).ok()
}

fn module(json: &Json) -> Option<(String, u32)> {
    let fields: &Map<String, Json> = json.as_object()?;
    let verbosity = fields.get("verbosity").map_or(Some(0), Json::as_u64)?;
    Some((fields.get("filePattern")?.as_str()?.to_owned(), u32::try_from(verbosity).ok()?))
}

/// What is between commas; nothing in an empty text.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|part| !part.is_empty())
}

/// Digits with at most one point, then a suffix of apimachinery's resource.Quantity.
fn is_quantity(text: &str) -> bool {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let suffixes = ["", "n", "u", "m", "k", "K", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    number.parse::<f64>().is_ok() && suffixes.contains(&suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_takes_what_it_says_and_nothing_else() {
        let cases = [
            (Kind::Switch, json!(true), json!("maybe")),
            (Kind::Switch, json!("yes"), json!(1)),
            (Kind::Integer, json!(-999), json!(1_u64 << 31)),
            (Kind::Integer, json!(0), json!("0")),
            (Kind::Number, json!(5.5), json!("5")),
            (Kind::Text, json!("10.0.0.0/8"), json!(10)),
            (Kind::List, json!(["a", "b"]), json!("a")),
            (Kind::Duration, json!("15m0s"), json!(15)),
            (Kind::Pause, json!(5_000_000_000_i64), json!("5")),
            (Kind::Quantity, json!("2Ki"), json!("2 Kilo")),
            (Kind::Gates, json!({"A": true}), json!({"A": 1})),
            (Kind::Modules, json!([{"filePattern": "a", "verbosity": 4}]), json!([{"verbosity": 4}])),
        ];
        for (kind, right, wrong) in cases {
            assert!(kind.read_json(&right).is_some(), "{kind:?} {right}");
            assert_eq!(kind.read_json(&wrong), None, "{kind:?} {wrong}");
        }
    }

    #[test]
    fn a_flag_says_the_same_as_the_file() {
        let cases = [
            (Kind::Switch, "true", json!(true)),
            (Kind::List, "10.0.0.0/8,primary", json!(["10.0.0.0/8", "primary"])),
            (Kind::Gates, "A=true,B=0", json!({"A": true, "B": false})),
            (
                Kind::Modules,
                "proxier=4,server*=2",
                json!([
                {"filePattern": "proxier", "verbosity": 4}, {"filePattern": "server*", "verbosity": 2}]),
            ),
            (Kind::Duration, "90s", json!("1m30s")),
            (Kind::Number, "2.5", json!(2.5)),
        ];
        for (kind, text, document) in cases {
            let value = kind.read_text(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(Some(&value), kind.read_json(&document).as_ref(), "{text}");
            assert_eq!(value.to_json(), document);
        }
    }
}
