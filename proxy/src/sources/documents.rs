//! The text of one file → the objects in it, each with the line it stands on; or the one error that makes the file bad.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlead_proxy_model::{ObjectName, ServiceFact, SliceFact};
use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Options, budget, options};

use super::{Problem, Severity};
use crate::convert::{Converted, Fault, Head, Kind, Remark, Service, Slice};

/// The objects of one file.
#[derive(Debug, Default)]
pub struct Objects {
    /// Services by name, with their lines.
    pub services: BTreeMap<ObjectName, (u64, Arc<ServiceFact>)>,
    /// Slices by name, with their lines.
    pub slices: BTreeMap<ObjectName, (u64, Arc<SliceFact>)>,
    /// What is accepted but not served as written.
    pub remarks: Vec<Problem>,
    /// What is not for a service proxy, a line each.
    pub ignored: Vec<String>,
}

/// Reads all documents of `text`, the content of `file`. YAML, and so JSON too; any number of documents; lists.
pub fn parse(file: &str, text: &str) -> Result<Objects, Problem> {
    let mut objects = Objects::default();
    for (first_line, document) in split(text) {
        let place = Place { file, first_line };
        parse_document(&place, document, &mut objects)?;
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

    fn line(&self, at: Location) -> u64 {
        self.first_line + at.line()
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
        self.problem(Some(at), Severity::Error, text)
    }
}

fn indentation(line: &str) -> &str {
    line.split(|c: char| !c.is_whitespace()).next().unwrap_or_default()
}

fn parse_document(place: &Place<'_>, text: &str, objects: &mut Objects) -> Result<(), Problem> {
    let unreadable = |error: serde_saphyr::Error| place.unreadable(text, &error);
    let head: Head = serde_saphyr::from_str_with_options(text, limits()).map_err(|error| {
        let mut problem = unreadable(error);
        if problem.text == "expected mapping start" {
            problem.text = "no Kubernetes object: apiVersion and kind are missing".to_owned();
        }
        problem
    })?;
    match head.kind() {
        Kind::Service => {
            let service: Service = serde_saphyr::from_str_with_options(text, limits()).map_err(unreadable)?;
            add_service(place, service, objects)
        }
        Kind::Slice => {
            let slice: Slice = serde_saphyr::from_str_with_options(text, limits()).map_err(unreadable)?;
            add_slice(place, slice, objects)
        }
        kind @ (Kind::List | Kind::ServiceList | Kind::SliceList) => {
            for item in read_list(text, kind).map_err(unreadable)? {
                match item {
                    Item::Service(service) => add_service(place, service, objects)?,
                    Item::Slice(slice) => add_slice(place, slice, objects)?,
                    Item::Other => {
                        objects.ignored.push("an item of a List that is no Service or EndpointSlice".to_owned())
                    }
                }
            }
            Ok(())
        }
        Kind::Other => match (&head.api_version, &head.kind) {
            (Some(version), Some(kind)) => {
                objects.ignored.push(format!("{version} {kind}: not for a service proxy"));
                Ok(())
            }
            _ => {
                let text = "no Kubernetes object: apiVersion and kind are missing";
                Err(place.problem(None, Severity::Error, text.to_owned()))
            }
        },
    }
}

fn add_service(place: &Place<'_>, service: Service, objects: &mut Objects) -> Result<(), Problem> {
    let (name, at) = service.name();
    let mut remarks = Vec::new();
    let converted = service.convert(&mut remarks).map_err(|fault| place.fault(fault))?;
    note(place, remarks, objects);
    match converted {
        Converted::Service(fact) => match objects.services.insert(name.clone(), (place.line(at), fact)) {
            Some((line, _)) => Err(place.problem(
                Some(at),
                Severity::Error,
                format!("Service {name}: a second time, the first is on line {line}; delete one of them"),
            )),
            None => Ok(()),
        },
        Converted::Slice(_) => Ok(()),
        Converted::Ignored(why) => {
            objects.ignored.push(why);
            Ok(())
        }
    }
}

fn add_slice(place: &Place<'_>, slice: Slice, objects: &mut Objects) -> Result<(), Problem> {
    let (name, at) = slice.name();
    let mut remarks = Vec::new();
    let converted = slice.convert(&mut remarks).map_err(|fault| place.fault(fault))?;
    note(place, remarks, objects);
    match converted {
        Converted::Slice(fact) => match objects.slices.insert(name.clone(), (place.line(at), fact)) {
            Some((line, _)) => Err(place.problem(
                Some(at),
                Severity::Error,
                format!("EndpointSlice {name}: a second time, the first is on line {line}; delete one of them"),
            )),
            None => Ok(()),
        },
        Converted::Service(_) => Ok(()),
        Converted::Ignored(why) => {
            objects.ignored.push(why);
            Ok(())
        }
    }
}

fn note(place: &Place<'_>, remarks: Vec<Remark>, objects: &mut Objects) {
    let problems = remarks.into_iter().map(|Remark { at, text }| place.problem(Some(at), Severity::Warning, text));
    objects.remarks.extend(problems);
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

/// An item of a list.
enum Item {
    Service(Service),
    Slice(Slice),
    Other,
}

/// Reads a list twice: for the kinds of its items, which kubectl prints behind their specs, then for the items.
fn read_list(text: &str, kind: Kind) -> Result<Vec<Item>, serde_saphyr::Error> {
    #[derive(serde::Deserialize)]
    struct Heads {
        #[serde(default)]
        items: Option<Vec<Head>>,
    }
    let heads: Heads = serde_saphyr::from_str_with_options(text, limits())?;
    let kinds: Vec<Kind> = heads
        .items
        .unwrap_or_default()
        .iter()
        .map(|head| match (kind, head.kind()) {
            (Kind::ServiceList, Kind::Other) if head.kind.is_none() => Kind::Service,
            (Kind::SliceList, Kind::Other) if head.kind.is_none() => Kind::Slice,
            (_, kind) => kind,
        })
        .collect();
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
                Kind::List | Kind::ServiceList | Kind::SliceList => {
                    return Err(A::Error::custom("a list within a list"));
                }
                Kind::Other => seq.next_element::<IgnoredAny>()?.map(|_| Item::Other),
            };
            items.extend(item);
        }
        // The second reading must come to the end of the list too.
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(items)
    }
}
