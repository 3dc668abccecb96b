//! Answers to lists and watches.

use std::io::{self, BufReader};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::http::{self, Request};
use super::{Break, Fault, For, Shared};

/// A thread that waits for a change looks up this often, in case the server is gone.
const LOOK_UP: Duration = Duration::from_millis(200);

/// Serves a connection until it ends.
pub fn serve(shared: &Shared, stream: TcpStream) {
    _ = stream.set_nodelay(true);
    let Ok(clone) = stream.try_clone() else { return };
    let mut reader = BufReader::new(clone);
    let mut stream = stream;
    while let Ok(Some(request)) = http::read(&mut reader) {
        let fault = shared.change(|state| {
            state.requests.push(request.clone());
            let fits =
                state.faults.iter().position(|(which, path, _)| fits(*which, &request) && request.path.contains(path));
            fits.and_then(|index| state.faults.remove(index)).map(|(_, _, fault)| fault)
        });
        if respond(shared, &mut stream, &request, fault).is_err() {
            http::reset(&stream);
            return;
        }
    }
}

fn fits(which: For, request: &Request) -> bool {
    let streamed = request.parameter("sendInitialEvents") == Some("true");
    match which {
        For::Any => true,
        For::List => !request.is_watch() && request.parameter("limit") != Some("1"),
        For::NextPage => request.parameter("continue").is_some(),
        For::Watch => request.is_watch() && !streamed,
        For::StreamedList => request.is_watch() && streamed,
    }
}

fn kind_of(path: &str) -> Option<&'static str> {
    match path {
        "/api/v1/services" => Some("Service"),
        "/apis/discovery.k8s.io/v1/endpointslices" => Some("EndpointSlice"),
        "/api/v1/nodes" => Some("Node"),
        _ => None,
    }
}

/// The selectors that kube-proxy uses; no others are asked for here.
fn is_selected(request: &Request, object: &Value) -> bool {
    let absent = request.parameter("labelSelector").and_then(|selector| selector.strip_prefix('!'));
    let unlabelled = absent.is_none_or(|label| object["metadata"]["labels"].get(label).is_none());
    let field = request.parameter("fieldSelector");
    unlabelled && !(field == Some("spec.clusterIP!=None") && object["spec"]["clusterIP"] == "None")
}

fn status(code: u16) -> Value {
    let message = format!("scripted {code}");
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "Scripted", "message": message})
}

/// An error ends the connection by a reset.
fn respond(shared: &Shared, stream: &mut TcpStream, request: &Request, fault: Option<Fault>) -> io::Result<()> {
    match &fault {
        Some(Fault::Status(code, retry_after)) => {
            return http::answer(stream, *code, *retry_after, &status(*code).to_string());
        }
        Some(Fault::Reset) => return Err(io::Error::other("scripted")),
        Some(Fault::Body(body)) => return http::answer(stream, 200, None, body),
        _ => {}
    }
    match kind_of(&request.path) {
        None => http::answer(stream, 404, None, &status(404).to_string()),
        Some(kind) if request.is_watch() => watch(shared, stream, request, kind, fault),
        Some(kind) => list(shared, stream, request, kind, fault),
    }
}

fn list(
    shared: &Shared,
    stream: &mut TcpStream,
    request: &Request,
    kind: &str,
    fault: Option<Fault>,
) -> io::Result<()> {
    let (version, objects) = {
        let state = shared.lock();
        (state.store.version(), state.store.list(kind))
    };
    let objects: Vec<Value> = objects.into_iter().filter(|object| is_selected(request, object)).collect();
    let limit = request.parameter("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let start: usize = request.parameter("continue").and_then(|token| token.parse().ok()).unwrap_or(0);
    let end = start.saturating_add(limit).min(objects.len());
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if end < objects.len() {
        metadata["continue"] = json!(end.to_string());
    }
    let items = objects.get(start..end).unwrap_or_default();
    let body = json!({"kind": format!("{kind}List"), "metadata": metadata, "items": items}).to_string();
    match fault {
        Some(Fault::ResetAfter(bytes)) => {
            http::begin(stream)?;
            http::piece(stream, body.get(..bytes).unwrap_or(&body))?;
            Err(io::Error::other("scripted"))
        }
        Some(Fault::SilentAfter(bytes)) => {
            http::begin(stream)?;
            http::piece(stream, body.get(..bytes).unwrap_or(&body))?;
            silence(shared)
        }
        _ => http::answer(stream, 200, None, &body),
    }
}

/// Until the server goes away.
fn silence(shared: &Shared) -> io::Result<()> {
    let mut state = shared.lock();
    let generation = state.generation;
    while state.generation == generation {
        state = shared.wait(state, LOOK_UP);
    }
    Err(io::Error::other("scripted"))
}

fn line(kind: &str, object: &Value) -> String {
    // A string of it, because the fields must stay in this order.
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

fn bookmark(kind: &str, version: u64, initial_end: bool) -> String {
    let mut metadata = json!({"resourceVersion": version.to_string(), "creationTimestamp": null});
    if initial_end {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    line("BOOKMARK", &json!({"kind": kind, "apiVersion": "v1", "metadata": metadata}))
}

/// Writes lines until a fault says otherwise.
struct Lines<'a> {
    shared: &'a Shared,
    stream: &'a mut TcpStream,
    left: usize,
    silent: bool,
}

impl Lines<'_> {
    fn write(&mut self, text: &str) -> io::Result<()> {
        if self.left == 0 {
            return if self.silent { silence(self.shared) } else { Err(io::Error::other("scripted")) };
        }
        self.left -= 1;
        http::piece(self.stream, text)
    }
}

fn watch(
    shared: &Shared,
    stream: &mut TcpStream,
    request: &Request,
    kind: &str,
    fault: Option<Fault>,
) -> io::Result<()> {
    let streamed = request.parameter("sendInitialEvents") == Some("true");
    let (mut sent, initial, begun) = {
        let state = shared.lock();
        if streamed && !state.streams {
            // As a server without the feature (k8s.io/apiserver, validation of ListOptions).
            return http::answer(stream, 422, None, &status(422).to_string());
        }
        let from = request.parameter("resourceVersion").and_then(|version| version.parse().ok());
        let from: u64 = from.unwrap_or(state.store.version());
        if !streamed && from < state.store.compacted() {
            http::begin(stream)?;
            http::piece(stream, &line("ERROR", &status(410)))?;
            return http::end(stream);
        }
        let initial = if streamed { state.store.list(kind) } else { Vec::new() };
        (from, initial, (state.breaks.0, state.bookmarks))
    };
    let (left, silent) = match &fault {
        Some(Fault::ResetAfter(lines)) => (*lines, false),
        Some(Fault::SilentAfter(lines)) => (*lines, true),
        _ => (usize::MAX, false),
    };
    http::begin(stream)?;
    let mut lines = Lines { shared, stream, left, silent };
    if let Some(Fault::Lines(script)) = &fault {
        script.iter().try_for_each(|text| lines.write(&format!("{text}\n")))?;
    }
    for object in initial.iter().filter(|object| is_selected(request, object)) {
        lines.write(&line("ADDED", object))?;
    }
    if streamed {
        if matches!(fault, Some(Fault::NoEnd)) {
            return silence(shared);
        }
        lines.write(&bookmark(kind, sent, true))?;
    }
    let mut bookmarks = begun.1;
    let mut state = shared.lock();
    loop {
        let how = (state.breaks.0 != begun.0).then_some(state.breaks.1);
        let mut entries = state.store.since(kind, sent);
        if how.is_some() {
            entries.retain(|entry| entry.version <= state.breaks.2);
        }
        let due = state.bookmarks != bookmarks;
        bookmarks = state.bookmarks;
        let version = state.store.version();
        if how.is_none() && entries.is_empty() && !due {
            state = shared.wait(state, LOOK_UP);
            continue;
        }
        drop(state);
        match how {
            Some(Break::Reset) => return Err(io::Error::other("scripted")),
            Some(Break::Silence) => return silence(shared),
            Some(Break::Error(code)) => {
                lines.write(&line("ERROR", &status(code)))?;
                return http::end(lines.stream);
            }
            // In peace: what was there by then is sent first.
            Some(Break::End) | None => {}
        }
        for entry in entries {
            sent = sent.max(entry.version);
            let was = entry.before.as_ref().is_some_and(|object| is_selected(request, object));
            let is = entry.after.as_ref().is_some_and(|object| is_selected(request, object));
            let text = match (was, is, entry.before, entry.after) {
                (false, true, _, Some(after)) => line("ADDED", &after),
                (true, true, _, Some(after)) => line("MODIFIED", &after),
                (true, false, Some(mut before), _) => {
                    before["metadata"]["resourceVersion"] = json!(entry.version.to_string());
                    line("DELETED", &before)
                }
                _ => continue,
            };
            lines.write(&text)?;
        }
        // A watch that was taken from the future has nothing to say before the present gets there.
        if due && version >= sent {
            lines.write(&bookmark(kind, version, false))?;
            sent = version;
        }
        if how.is_some() {
            return http::end(lines.stream);
        }
        state = shared.lock();
    }
}
