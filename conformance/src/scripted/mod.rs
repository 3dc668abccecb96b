//! An API server that does on command what a real one does once a year.
//!
//! It keeps objects and their history as etcd does (one revision for all, a log that can be compacted, a past that can be
//! restored), answers lists and watches as `k8s.io/apiserver` does (pages with `continue`, `sendInitialEvents`, bookmarks, 410),
//! and breaks in the ways that a script asks for. HTTP/1.1 over TCP, one thread a connection, everything logged.

mod answer;
mod http;
mod store;

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

pub use self::http::Request;
use self::store::Store;

/// What is done to the next request that fits.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This answer, with `Retry-After` in seconds if any.
    Status(u16, Option<u32>),
    /// The connection is reset instead of an answer.
    Reset,
    /// A good answer begins, and after so many lines (of a watch) or bytes (of a list) the connection is reset.
    ResetAfter(usize),
    /// A good answer begins, and after so many lines nothing comes any more; the connection stays.
    SilentAfter(usize),
    /// Initial events, and never the bookmark that ends them.
    NoEnd,
    /// 200 with this body.
    Body(String),
    /// These lines before any other line of a watch.
    Lines(Vec<String>),
}

/// What is done to every watch that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Ended in peace, as when its time is over.
    End,
    /// Reset.
    Reset,
    /// Nothing comes any more, not even a bookmark; the connection stays.
    Silence,
    /// An ERROR event with this code, then the end.
    Error(u16),
}

/// Which requests a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Any.
    Any,
    /// A page of a list.
    List,
    /// A page of a list that is not the first.
    NextPage,
    /// A watch that goes on from a version.
    Watch,
    /// A watch that begins with what is there.
    StreamedList,
}

struct State {
    store: Store,
    /// `sendInitialEvents` is understood.
    streams: bool,
    faults: VecDeque<(For, &'static str, Fault)>,
    requests: Vec<Request>,
    /// Counts breaks; a watch that began before the last one is broken as it says, and tells of nothing that came later than
    /// this version.
    breaks: (u64, Break, u64),
    /// Counts bookmarks that all watches are to send.
    bookmarks: u64,
    /// Every connection, to be cut when the server goes away.
    connections: Vec<TcpStream>,
    /// Counts starts; a listener of an older one ends.
    generation: u64,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let outcome = change(&mut self.lock());
        self.changed.notify_all();
        outcome
    }

    /// Waits until something has changed, or `limit`.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// See the head of the file.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Server {
    /// On a port of the loopback device.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let state = State {
            store: Store::default(),
            streams: true,
            faults: VecDeque::new(),
            requests: Vec::new(),
            breaks: (0, Break::End, 0),
            bookmarks: 0,
            connections: Vec::new(),
            generation: 0,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let server = Self { shared, address };
        server.listen(listener);
        Ok(server)
    }

    fn listen(&self, listener: TcpListener) {
        let shared = self.shared.clone();
        let generation = shared.lock().generation;
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let Ok(connection) = connection else { return };
                let shared = shared.clone();
                {
                    let mut state = shared.lock();
                    if state.generation != generation {
                        return;
                    }
                    state.connections.extend(connection.try_clone());
                }
                std::thread::spawn(move || answer::serve(&shared, connection));
            }
        });
    }

    /// `http://address:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Nobody listens any more, and every connection is reset.
    pub fn go_away(&self) {
        let connections = self.shared.change(|state| {
            state.generation += 1;
            state.breaks = (state.breaks.0 + 1, Break::Reset, state.store.version());
            std::mem::take(&mut state.connections)
        });
        connections.iter().for_each(http::reset);
        // The listener looks at the generation when somebody comes.
        drop(TcpStream::connect(self.address));
    }

    /// Listens again, at the same address.
    pub fn come_back(&self) -> io::Result<()> {
        let listener = crate::limit::until("the port to be free", crate::limit::patience(10), || {
            Ok(TcpListener::bind(self.address).ok())
        });
        self.listen(listener.map_err(io::Error::other)?);
        Ok(())
    }

    /// Whether lists can be streamed.
    pub fn streams(&self, streams: bool) {
        self.shared.change(|state| state.streams = streams);
    }

    /// Creates or replaces an object; the server gives it a version.
    pub fn put(&self, object: Value) {
        self.shared.change(|state| state.store.put(object));
    }

    /// Deletes an object of that kind.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) {
        self.shared.change(|state| state.store.delete(kind, namespace, name));
    }

    /// Forgets the history: a watch that goes on from before gets 410.
    pub fn compact(&self) {
        self.shared.change(|state| state.store.compact());
    }

    /// Writes that are nobody's concern here.
    pub fn advance(&self, versions: u64) {
        self.shared.change(|state| state.store.advance(versions));
    }

    /// What a restore would bring back.
    pub fn backup(&self) -> Backup {
        Backup(self.shared.lock().store.clone())
    }

    /// Goes back to an older state, versions included. Watches from the future are taken without a word, and get nothing.
    pub fn restore(&self, backup: Backup) {
        self.shared.change(|state| {
            state.store = backup.0;
            state.breaks = (state.breaks.0 + 1, Break::Reset, state.store.version());
        });
    }

    /// Adds a fault for the next request that fits: a path that contains `path`.
    pub fn fault(&self, which: For, path: &'static str, fault: Fault) {
        self.shared.change(|state| state.faults.push_back((which, path, fault)));
    }

    /// Breaks every watch that is open.
    pub fn break_watches(&self, how: Break) {
        self.shared.change(|state| state.breaks = (state.breaks.0 + 1, how, state.store.version()));
    }

    /// Has every watch send a bookmark.
    pub fn bookmark(&self) {
        self.shared.change(|state| state.bookmarks += 1);
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.lock().requests.clone()
    }

    /// Faults that nobody has met yet.
    pub fn faults_left(&self) -> usize {
        self.shared.lock().faults.len()
    }

    /// Names of the objects of a kind, as `namespace/name`.
    pub fn names(&self, kind: &str) -> Vec<String> {
        self.shared.lock().store.names(kind)
    }

    /// The object of that title (`Kind namespace/name`, or `Kind name`) as JSON.
    pub fn text(&self, title: &str) -> Option<String> {
        let (kind, name) = title.split_once(' ')?;
        let (namespace, name) = name.split_once('/').unwrap_or(("", name));
        self.shared.lock().store.text(kind, namespace, name)
    }

    /// The present version.
    pub fn version(&self) -> u64 {
        self.shared.lock().store.version()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.go_away();
    }
}

/// A state of the server.
#[derive(Clone)]
pub struct Backup(Store);
