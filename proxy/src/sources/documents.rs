//! The text of one file → the objects in it, each with the line it stands on; or the one error that makes the file bad.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlead_proxy_model::{NodeFact, ObjectName, ServiceFact, SliceFact};
use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Options, budget, options};

use super::{Problem, Severity};
use crate::convert::{Converted, Fault, Head, Kind, Node, Remark, Remarks, Rules, Service, Slice, Written};

/// The objects of one file.
#[derive(Debug, Default)]
pub struct Objects {
    /// Services by name, with their lines.
    pub services: BTreeMap<ObjectName, (u64, Arc<ServiceFact>)>,
    /// Slices by name, with their lines.
    pub slices: BTreeMap<ObjectName, (u64, Arc<SliceFact>)>,
    /// Nodes by name, with their lines.
    pub nodes: BTreeMap<ObjectName, (u64, Arc<NodeFact>)>,
    /// What is accepted but not served as written.
    pub remarks: Vec<Problem>,
    /// What is not for a service proxy, a line each.
    pub ignored: Vec<String>,
}

/// Reads all documents of `text`, the content of `file`. YAML, and so JSON too; any number of documents; lists.
pub fn parse(file: &str, text: &str, rules: &mut Rules) -> Result<Objects, Problem> {
    let mut objects = Objects::default();
    for (first_line, document) in split(text) {
        let place = Place { file, first_line };
        parse_document(&place, document, rules, &mut objects)?;
    }
    Ok(objects)
}

/// Cuts a stream into documents, each with the number of lines before it. A line that begins with `---` begins a document
/// wherever it stands (YAML 1.2.2, 9.1.2: even inside a scalar), so that no parser is needed; a document keeps its `---`.
/// Documents without content are left out.
fn split(text: &str) -> Vec<(u64, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    for (line, number) in text.split_inclusive('\n').zip(0_u64..) {
        let marker =
            line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if marker && offset > start {
            documents.push((start_line, &text[start..offset]));
            (start, start_line) = (offset, number);
        }
        offset += line.len();
    }
    documents.push((start_line, &text[start..]));
    documents.retain(|(_, document)| document.lines().any(has_content));
    documents
}

fn has_content(line: &str) -> bool {
    let line = line.trim_start_matches('\u{feff}');
    let rest = line.strip_prefix("---").unwrap_or(line).trim();
    !rest.is_empty() && !rest.starts_with(['#', '%']) && rest != "..."
}

/// Where a document stands.
struct Place<'a> {
    file: &'a str,
    first_line: u64,
}

impl Place<'_> {
    fn problem(&self, at: Option<Location>, severity: Severity, text: String) -> Problem {
        let (line, column) = at.map_or((1, 0), |at| (at.line().max(1), at.column()));
        Problem { file: self.file.to_owned(), line: self.first_line + line, column, severity, text }
    }

    fn line(&self, at: Option<Location>) -> u64 {
        self.first_line + at.map_or(1, |at| at.line())
    }

    fn unreadable(&self, document: &str, error: &serde_saphyr::Error) -> Problem {
        let text = error.without_snippet().to_string();
        if text.contains("tab") {
            // The parser points at the value before it, which may be lines away.
            let tabs = document.lines().zip(1_u64..).find(|(line, _)| indentation(line).contains('\t'));
            if let Some((line, number)) = tabs {
                let column = indentation(line).find('\t').unwrap_or_default() as u64 + 1;
                let text = "a tab in the indentation, which YAML forbids; indent with spaces".to_owned();
                let (file, line) = (self.file.to_owned(), self.first_line + number);
                return Problem { file, line, column, severity: Severity::Error, text };
            }
        }
        // The place stands in front already.
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
        self.problem(error.location(), Severity::Error, text.to_owned())
    }

    fn fault(&self, Fault { at, text }: Fault) -> Problem {
        self.problem(at, Severity::Error, text)
    }
}

fn indentation(line: &str) -> &str {
    line.split(|c: char| !c.is_whitespace()).next().unwrap_or_default()
}

fn parse_document(place: &Place<'_>, text: &str, rules: &mut Rules, objects: &mut Objects) -> Result<(), Problem> {
    let unreadable = |error: serde_saphyr::Error| place.unreadable(text, &error);
    let head: Head = serde_saphyr::from_str_with_options(text, limits()).map_err(|error| {
        let mut problem = unreadable(error);
        if problem.text == "expected mapping start" {
            problem.text = "no Kubernetes object: apiVersion and kind are missing".to_owned();
        }
        problem
    })?;
    let item = match head.kind() {
        Kind::Service => Item::Service(serde_saphyr::from_str_with_options(text, limits()).map_err(unreadable)?),
        Kind::Slice => Item::Slice(serde_saphyr::from_str_with_options(text, limits()).map_err(unreadable)?),
        Kind::Node => Item::Node(serde_saphyr::from_str_with_options(text, limits()).map_err(unreadable)?),
        kind @ (Kind::List | Kind::ServiceList | Kind::SliceList | Kind::NodeList) => {
            let items = read_list(text, kind).map_err(unreadable)?;
            return items.into_iter().try_for_each(|item| add(place, item, rules, objects));
        }
        Kind::Other => match (&head.api_version, &head.kind) {
            (Some(version), Some(kind)) => Item::Other(format!("{version} {kind}: not for a service proxy")),
            _ => {
                let text = "no Kubernetes object: apiVersion and kind are missing";
                return Err(place.problem(None, Severity::Error, text.to_owned()));
            }
        },
    };
    add(place, item, rules, objects)
}

fn add(place: &Place<'_>, item: Item, rules: &mut Rules, objects: &mut Objects) -> Result<(), Problem> {
    let mut remarks = Remarks::default();
    let at = item.place();
    let converted = item.convert(rules, &mut remarks).map_err(|fault| place.fault(fault))?;
    let remarks = remarks.list.into_iter();
    objects.remarks.extend(remarks.map(|Remark { at, text }| place.problem(at, Severity::Warning, text)));
    match converted {
        Converted::Service(fact) => {
            let title = format!("Service {}", fact.name);
            state(place, at, &title, &mut objects.services, fact.name.clone(), fact)
        }
        Converted::Slice(fact) => {
            let title = format!("EndpointSlice {}", fact.name);
            state(place, at, &title, &mut objects.slices, fact.name.clone(), fact)
        }
        Converted::Node(fact) => {
            let title = format!("Node {}", fact.name);
            state(place, at, &title, &mut objects.nodes, ObjectName::new("", fact.name.clone()), fact)
        }
        Converted::Ignored(why) => {
            objects.ignored.push(why);
            Ok(())
        }
    }
}

fn state<Fact>(
    place: &Place<'_>,
    at: Option<Location>,
    title: &str,
    facts: &mut BTreeMap<ObjectName, (u64, Arc<Fact>)>,
    name: ObjectName,
    fact: Arc<Fact>,
) -> Result<(), Problem> {
    match facts.insert(name, (place.line(at), fact)) {
        Some((line, _)) => {
            let text = format!("{title}: a second time, the first is on line {line}; delete one of them");
            Err(place.problem(at, Severity::Error, text))
        }
        None => Ok(()),
    }
}

/// Bounds that a directory with a hundred thousand services keeps well below, and that a hostile file does not get past.
fn limits() -> Options {
    options! {
        with_snippet: false,
        emit_comments: false,
        budget: budget! {
            max_events: 50_000_000,
            max_nodes: 25_000_000,
            max_total_scalar_bytes: 512 << 20,
            max_depth: 64,
            max_anchors: 1_000,
            max_aliases: 10_000,
        },
    }
}

/// An object of a document or of a list in it.
enum Item {
    Service(Service<Written>),
    Slice(Slice<Written>),
    Node(Node<Written>),
    /// Not ours; why.
    Other(String),
}

impl Item {
    /// Where its name stands.
    fn place(&self) -> Option<Location> {
        match self {
            Self::Service(service) => service.place(),
            Self::Slice(slice) => slice.place(),
            Self::Node(node) => node.place(),
            Self::Other(_) => None,
        }
    }

    fn convert(self, rules: &mut Rules, remarks: &mut Remarks) -> Result<Converted, Fault> {
        match self {
            Self::Service(service) => service.convert(rules, remarks),
            Self::Slice(slice) => slice.convert(rules, remarks),
            Self::Node(node) => node.convert(rules, remarks),
            Self::Other(why) => Ok(Converted::Ignored(why)),
        }
    }
}

/// Reads a list twice: for the kinds of its items, which kubectl prints behind their specs, then for the items.
fn read_list(text: &str, kind: Kind) -> Result<Vec<Item>, serde_saphyr::Error> {
    #[derive(serde::Deserialize)]
    struct Heads {
        #[serde(default)]
        items: Option<Vec<Head>>,
    }
    let heads: Heads = serde_saphyr::from_str_with_options(text, limits())?;
    let heads = heads.items.unwrap_or_default();
    let kinds: Vec<Kind> = heads.iter().map(|head| head.kind_within(kind)).collect();
    serde_saphyr::with_deserializer_from_str_with_options(text, limits(), |deserializer| {
        deserializer.deserialize_map(List { kinds: &kinds })
    })
}

struct List<'a> {
    kinds: &'a [Kind],
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = Vec<Item>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == "items" && !self.kinds.is_empty() {
                items = map.next_value_seed(Items { kinds: self.kinds })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(items)
    }
}

struct Items<'a> {
    kinds: &'a [Kind],
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = Vec<Item>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = Vec<Item>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the items of a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::with_capacity(self.kinds.len());
        for kind in self.kinds {
            let item = match kind {
                Kind::Service => seq.next_element()?.map(Item::Service),
                Kind::Slice => seq.next_element()?.map(Item::Slice),
                Kind::Node => seq.next_element()?.map(Item::Node),
                Kind::List | Kind::ServiceList | Kind::SliceList | Kind::NodeList => {
                    return Err(A::Error::custom("a list within a list"));
                }
                Kind::Other => seq
                    .next_element::<IgnoredAny>()?
                    .map(|_| Item::Other("an item of a List that is no Service, EndpointSlice or Node".to_owned())),
            };
            items.extend(item);
        }
        // The second reading must come to the end of the list too.
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(items)
    }
}
