//! What an API server sends: pages of a list, lines of a watch (JSON), and errors.

use std::fmt::Debug;

use fairlead_proxy_model::{Change, ObjectName};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::form::Sent;
use super::shapes::{Metadata, Node, Service, Slice};
use super::{Converted, Fault, Remark, Remarks, Rules};

/// A kind of object that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Collection {
    /// Services with a cluster IP that no other proxy claims.
    Services,
    /// EndpointSlices of such services.
    Slices,
    /// Nodes.
    Nodes,
}

impl Collection {
    /// The name that people use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Services => "Services",
            Self::Slices => "EndpointSlices",
            Self::Nodes => "Nodes",
        }
    }

    /// Path of the collection in all namespaces, and the query that leaves out what is not for us (what kube-proxy leaves
    /// out too: k8s.io/kubernetes, cmd/kube-proxy/app/server.go).
    pub fn request(self, rules: &Rules) -> (&'static str, String) {
        match self {
            Self::Services => {
                let label = "service.kubernetes.io%2Fservice-proxy-name";
                let ours = match &rules.proxy_name {
                    None => format!("%21{label}"),
                    Some(name) => format!("{label}%3D{}", escaped(name)),
                };
                ("/api/v1/services", format!("labelSelector={ours}&fieldSelector=spec.clusterIP%21%3DNone"))
            }
            Self::Slices => (
                "/apis/discovery.k8s.io/v1/endpointslices",
                "labelSelector=%21service.kubernetes.io%2Fheadless".to_owned(),
            ),
            Self::Nodes => ("/api/v1/nodes", String::new()),
        }
    }

    /// The change that takes an object of this kind out of force.
    pub fn delete(self, name: ObjectName) -> Change {
        match self {
            Self::Services => Change::DeleteService(name),
            Self::Slices => Change::DeleteSlice(name),
            Self::Nodes => Change::DeleteNode(name.name),
        }
    }

    fn decode(self, json: &[u8], rules: &mut Rules) -> Result<Object, serde_json::Error> {
        match self {
            Self::Services => decode::<Service<Sent>>(json, rules),
            Self::Slices => decode::<Slice<Sent>>(json, rules),
            Self::Nodes => decode::<Node<Sent>>(json, rules),
        }
    }

    /// A page of a list.
    pub fn page(self, json: &[u8], rules: &mut Rules) -> Result<Page, serde_json::Error> {
        match self {
            Self::Services => page::<Service<Sent>>(json, rules),
            Self::Slices => page::<Slice<Sent>>(json, rules),
            Self::Nodes => page::<Node<Sent>>(json, rules),
        }
    }

    /// A line of a watch.
    pub fn event(self, line: &[u8], rules: &mut Rules) -> Result<Event, serde_json::Error> {
        let (kind, object) = split(line)?;
        Ok(match kind {
            "ADDED" | "MODIFIED" => Event::Put(self.decode(object, rules)?),
            "DELETED" => {
                let Bare { metadata } = serde_json::from_slice(object)?;
                let (name, version) = identity(&metadata, self != Self::Nodes, rules);
                Event::Deleted { name, version }
            }
            "BOOKMARK" => {
                let Bookmark { metadata } = serde_json::from_slice(object)?;
                let end = metadata.annotations.and_then(|annotations| annotations.initial_events_end);
                Event::Bookmark { version: metadata.resource_version, initial_end: end.as_deref() == Some("true") }
            }
            "ERROR" => Event::Error(serde_json::from_slice(object)?),
            // The API may get more kinds; none of them can be a change of an object.
            _ => Event::Unknown,
        })
    }
}

/// A page of a list.
#[derive(Debug, PartialEq)]
pub struct Page {
    /// What the list shows: a watch goes on from here.
    pub version: String,
    /// The token that asks for the next page.
    pub next: Option<String>,
    /// Its objects.
    pub objects: Vec<Object>,
}

/// An object that exists.
#[derive(Debug, PartialEq)]
pub struct Object {
    /// Its name; a node's namespace is empty.
    pub name: ObjectName,
    /// Its version, if it is a number, as it is for all kinds here.
    pub version: Option<u64>,
    /// What it says.
    pub converted: Result<Converted, Fault>,
    /// What of it is not served as written.
    pub remarks: Vec<Remark>,
}

/// A line of a watch.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// An object is there, new or different.
    Put(Object),
    /// An object is gone, or no longer among those asked for.
    Deleted {
        /// Its name; a node's namespace is empty.
        name: ObjectName,
        /// Of the deletion.
        version: Option<u64>,
    },
    /// Everything up to this version has been sent.
    Bookmark {
        /// A watch can go on from here.
        version: String,
        /// All objects that were there at the beginning have been sent.
        initial_end: bool,
    },
    /// The server ends the watch.
    Error(Status),
    /// Of a kind that the API did not have when this was written.
    Unknown,
}

/// `v1 Status`: why a request failed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Status {
    /// As HTTP has it; 0: not said.
    #[serde(default)]
    pub code: u16,
    /// One word for programs.
    #[serde(default)]
    pub reason: Option<String>,
    /// A sentence for people.
    #[serde(default)]
    pub message: Option<String>,
    /// More for programs.
    #[serde(default)]
    pub details: Option<Details>,
}

/// See [`Status`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// How long to wait before the next try.
    #[serde(default)]
    pub retry_after_seconds: Option<u64>,
}

trait Shape: DeserializeOwned {
    const NAMESPACED: bool;
    fn metadata(&self) -> &Metadata<Sent>;
    fn convert(self, rules: &mut Rules, remarks: &mut Remarks) -> Result<Converted, Fault>;
}

macro_rules! shapes {
    ($($shape:ident $namespaced:literal)*) => {$(
        impl Shape for $shape<Sent> {
            const NAMESPACED: bool = $namespaced;

            fn metadata(&self) -> &Metadata<Sent> {
                &self.metadata
            }

            fn convert(self, rules: &mut Rules, remarks: &mut Remarks) -> Result<Converted, Fault> {
                self.convert(rules, remarks)
            }
        }
    )*};
}

shapes! { Service true Slice true Node false }

/// What can be read of an object whose other fields are of types that nobody expects.
#[derive(Deserialize)]
struct Bare {
    metadata: Metadata<Sent>,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: BookmarkMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BookmarkMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    annotations: Option<BookmarkAnnotations>,
}

#[derive(Deserialize)]
struct BookmarkAnnotations {
    #[serde(default, rename = "k8s.io/initial-events-end")]
    initial_events_end: Option<String>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "Item: Deserialize<'de>"))]
struct List<Item> {
    #[serde(default)]
    metadata: ListMetadata,
    #[serde(default)]
    items: Option<Vec<Item>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    r#continue: Option<String>,
}

fn identity(metadata: &Metadata<Sent>, namespaced: bool, rules: &mut Rules) -> (ObjectName, Option<u64>) {
    let version = metadata.resource_version.as_deref().and_then(|version| version.parse().ok());
    (metadata.object_name(namespaced, rules).0, version)
}

fn convert<S: Shape>(shape: S, rules: &mut Rules) -> Object {
    let (name, version) = identity(shape.metadata(), S::NAMESPACED, rules);
    let mut remarks = Remarks::default();
    let converted = shape.convert(rules, &mut remarks);
    Object { name, version, converted, remarks: remarks.list }
}

/// An object that is not of the expected shape is a fault of that object; the stream goes on.
fn decode<S: Shape>(json: &[u8], rules: &mut Rules) -> Result<Object, serde_json::Error> {
    match serde_json::from_slice::<S>(json) {
        Ok(shape) => Ok(convert(shape, rules)),
        Err(error) => {
            let Bare { metadata } = serde_json::from_slice(json).map_err(|_| error_again(&error))?;
            let (name, version) = identity(&metadata, S::NAMESPACED, rules);
            let converted = Err(Fault { at: None, text: format!("{name}: cannot be read: {error}") });
            Ok(Object { name, version, converted, remarks: Vec::new() })
        }
    }
}

fn error_again(error: &serde_json::Error) -> serde_json::Error {
    serde::de::Error::custom(error)
}

fn page<S: Shape>(json: &[u8], rules: &mut Rules) -> Result<Page, serde_json::Error> {
    let (metadata, objects) = match serde_json::from_slice::<List<S>>(json) {
        Ok(List { metadata, items }) => {
            (metadata, items.unwrap_or_default().into_iter().map(|shape| convert(shape, rules)).collect())
        }
        // One object that cannot be read is no reason to do without the others.
        Err(_) => {
            let List::<&RawValue> { metadata, items } = serde_json::from_slice(json)?;
            let items = items.unwrap_or_default().into_iter();
            let objects = items.map(|item| decode::<S>(item.get().as_bytes(), rules)).collect::<Result<_, _>>()?;
            (metadata, objects)
        }
    };
    let next = metadata.r#continue.filter(|token| !token.is_empty());
    Ok(Page { version: metadata.resource_version, next, objects })
}

/// Kind and object of a line. Go's encoder keeps the order of the fields, so that the line need not be read twice.
fn split(line: &[u8]) -> Result<(&str, &[u8]), serde_json::Error> {
    for kind in ["ADDED", "MODIFIED", "DELETED"] {
        let rest = line.strip_prefix(b"{\"type\":\"").and_then(|rest| rest.strip_prefix(kind.as_bytes()));
        let rest = rest.and_then(|rest| rest.strip_prefix(b"\",\"object\":"));
        if let Some(object) = rest.and_then(|rest| rest.strip_suffix(b"}")) {
            return Ok((kind, object));
        }
    }
    #[derive(Deserialize)]
    struct Line<'a> {
        r#type: &'a str,
        #[serde(borrow)]
        object: &'a RawValue,
    }
    let Line { r#type, object } = serde_json::from_slice(line)?;
    Ok((r#type, object.get().as_bytes()))
}

/// Everything but letters, digits, `-`, `.` and `_` as `%XX` (RFC 3986, 2.1).
pub fn escaped(text: &str) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::with_capacity(text.len()), |mut escaped, byte| {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) => escaped.push(byte.into()),
            byte => _ = write!(escaped, "%{byte:02X}"),
        }
        escaped
    })
}
