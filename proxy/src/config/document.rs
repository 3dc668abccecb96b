//! A KubeProxyConfiguration as it was written: the text of a file → the fields that it sets.
//!
//! As lenient as kube-proxy (`loadConfig`, cmd/kube-proxy/app/options.go): what its strict decoding refuses and its lenient
//! one takes, fields that nobody knows and keys that occur twice, is a remark. A value of the wrong kind is an error.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value as Json};
use serde_saphyr::{DuplicateKeyPolicy, Options, budget, options};

use super::fields::{self, FIELDS};
use super::mode::Mode;
use super::value::Value;

pub const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
pub const KIND: &str = "KubeProxyConfiguration";

/// Names that are told of one kind of trouble; the rest is a number.
const TOLD: usize = 20;

static DEFAULTS: LazyLock<BTreeMap<&'static str, Value>> = LazyLock::new(|| {
    let default = |field: &fields::Field| field.kind.read_text(field.default).map(|value| (field.path, value));
    FIELDS.iter().filter_map(default).collect()
});

/// The fields that somebody set. All others have their defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    values: BTreeMap<&'static str, Value>,
    /// The flags by which fields were set.
    flags: BTreeMap<&'static str, &'static str>,
}

impl Document {
    /// Reads the text of a configuration file, YAML or JSON, with remarks.
    pub fn read(text: &str) -> Result<(Self, Vec<String>)> {
        let mut remarks = Vec::new();
        let json = parse(text, &mut remarks)?;
        let Json::Object(mut top) = json else {
            bail!("holds no {KIND}, but {}", kind_of(&json));
        };
        for (name, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
            match top.remove(name) {
                Some(Json::String(found)) if found == expected => {}
                Some(found) if !found.is_null() => bail!("{name}: {found} is not known here: must be {expected}"),
                _ => bail!("{name} is missing: must be {expected}"),
            }
        }
        let mut reader = Reader::default();
        reader.walk("", &top);
        // In the order of their names, whatever order a map of serde_json has.
        reader.wrong.sort_unstable();
        reader.unknown.sort_unstable();
        if !reader.wrong.is_empty() {
            bail!("{}", listed(&reader.wrong, "; "));
        }
        if !reader.unknown.is_empty() {
            remarks.push(format!("no field of {KIND}, ignored: {}", listed(&reader.unknown, ", ")));
        }
        Ok((reader.document, remarks))
    }

    /// Sets a field from a flag's text. `name` is the flag's, without its hyphens.
    pub fn set_by_flag(&mut self, path: &'static str, name: &'static str, text: &str) -> Result<()> {
        let field = fields::find(path).with_context(|| format!("--{name} sets no field"))?;
        let value = field
            .kind
            .read_text(text)
            .ok_or_else(|| anyhow!("--{name}: {text:?} is not allowed: must be {}", field.kind.allowed()))?;
        self.values.insert(field.path, value);
        self.flags.insert(field.path, name);
        Ok(())
    }

    /// What a field holds: what was written, or its default.
    pub fn get(&self, path: &str) -> &Value {
        self.values.get(path).or_else(|| DEFAULTS.get(path)).unwrap_or_else(|| panic!("no row of the table: {path}"))
    }

    /// Whether a field has another value than its default.
    pub fn is_changed(&self, path: &str) -> bool {
        self.values.get(path).is_some_and(|value| Some(value) != DEFAULTS.get(path))
    }

    /// How the field is called towards the operator: by the flag that set it, or by its path.
    pub fn name(&self, path: &str) -> String {
        self.flags.get(path).map_or_else(|| path.to_owned(), |flag| format!("--{flag}"))
    }

    /// A [`Value::Switch`].
    pub fn switch(&self, path: &str) -> bool {
        matches!(self.get(path), Value::Switch(true))
    }

    /// A [`Value::Integer`].
    pub fn integer(&self, path: &str) -> i32 {
        match self.get(path) {
            Value::Integer(number) => *number,
            other => panic!("{path} is no whole number: {other:?}"),
        }
    }

    /// A [`Value::Number`].
    pub fn number(&self, path: &str) -> f32 {
        match self.get(path) {
            Value::Number(number) => *number,
            other => panic!("{path} is no number: {other:?}"),
        }
    }

    /// A [`Value::Text`].
    pub fn text(&self, path: &str) -> &str {
        match self.get(path) {
            Value::Text(text) => text,
            other => panic!("{path} is no text: {other:?}"),
        }
    }

    /// A [`Value::List`].
    pub fn list(&self, path: &str) -> &[String] {
        match self.get(path) {
            Value::List(list) => list,
            other => panic!("{path} is no list: {other:?}"),
        }
    }

    /// A [`Value::Duration`], in nanoseconds.
    pub fn nanos(&self, path: &str) -> i64 {
        match self.get(path) {
            Value::Duration(nanos) => *nanos,
            other => panic!("{path} is no duration: {other:?}"),
        }
    }

    /// The mode that is written; `None`: none, or one that does not exist.
    pub fn written_mode(&self) -> Option<Mode> {
        Mode::parse(self.text("mode"))
    }
}

#[derive(Default)]
struct Reader {
    document: Document,
    unknown: Vec<String>,
    wrong: Vec<String>,
}

impl Reader {
    fn walk(&mut self, above: &str, object: &Map<String, Json>) {
        for (key, json) in object {
            let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
            if let Some(field) = fields::find(&path) {
                match field.kind.read_json(json) {
                    _ if json.is_null() => {}
                    Some(value) if value.is_zero() && !field.zero_counts => {}
                    Some(value) => {
                        self.document.values.insert(field.path, value);
                    }
                    None => {
                        self.wrong.push(format!(
                            "{path}: {} is not allowed: must be {}",
                            short(json),
                            field.kind.allowed()
                        ));
                    }
                }
                continue;
            }
            let group = format!("{path}.");
            match json {
                _ if !FIELDS.iter().any(|field| field.path.starts_with(&group)) => self.unknown.push(path),
                Json::Object(object) => self.walk(&path, object),
                Json::Null => {}
                other => self.wrong.push(format!("{path}: {} is not allowed: must hold fields", short(other))),
            }
        }
    }
}

/// The first document of a stream, as a decoder of Kubernetes takes it.
fn parse(text: &str, remarks: &mut Vec<String>) -> Result<Json> {
    let strict = serde_saphyr::from_multiple_with_options::<Json>(text, limits(DuplicateKeyPolicy::Error));
    let mut documents = match strict {
        Ok(documents) => documents,
        Err(strict) => match serde_saphyr::from_multiple_with_options(text, limits(DuplicateKeyPolicy::LastWins)) {
            Ok(documents) => {
                remarks.push(format!("a key occurs twice, the last counts: {}", line(&strict)));
                documents
            }
            Err(error) => bail!("{}", line(&error)),
        },
    };
    if documents.len() > 1 {
        remarks.push(format!("holds {} documents, the first counts", documents.len()));
    }
    if documents.is_empty() {
        bail!("is empty; it must hold a {KIND}");
    }
    Ok(documents.swap_remove(0))
}

fn line(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    // The parser's own advice is for who calls it.
    text.lines().next().unwrap_or_default().replace(", set DuplicateKeyPolicy in Options if acceptable", "")
}

fn limits(duplicate_keys: DuplicateKeyPolicy) -> Options {
    options! {
        with_snippet: false,
        emit_comments: false,
        duplicate_keys: duplicate_keys,
        budget: budget! {
            max_events: 100_000,
            max_nodes: 50_000,
            max_total_scalar_bytes: 2 << 20,
            max_depth: 32,
            max_anchors: 100,
            max_aliases: 1_000,
        },
    }
}

fn kind_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "nothing",
        Json::Array(_) => "a list",
        _ => "a single value",
    }
}

/// A value as JSON, cut where a terminal's patience ends.
fn short(json: &Json) -> String {
    let text = json.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Names, of which a file can hold any number.
fn listed(names: &[String], separator: &str) -> String {
    let told: Vec<String> = names.iter().take(TOLD).map(|name| name.escape_debug().to_string()).collect();
    let told = told.join(separator).replace("\\\"", "\"");
    match names.len().saturating_sub(TOLD) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}
