//! The watch of one collection, for as long as the daemon lives: list, watch, and what to do when either fails.
//!
//! Our own loop and not `kube-runtime`'s: that one buffers a list before it gives it out, logs each try, cannot tell a server
//! that is silent from one that has nothing to say, and knows no limit for a stream of initial events without an end.
//!
//! A list is asked for as a stream where the server has that (`sendInitialEvents`, KEP-3157): object by object, and a bookmark
//! at the end. A server that refuses it, or never sends that bookmark, is asked for pages.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fairlead_proxy_model::Change;
use http::Request;
use tokio::select;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};

use super::board::Board;
use super::client::Client;
use super::failure::Failure;
use super::ledger::{Doubt, Ledger};
use super::lines::{Lines, whole};
use super::pace::{Backoff, watch_seconds};
use crate::convert::Rules;
use crate::convert::api::{Collection, Event, Page, escaped};

/// Objects in a page; as client-go.
const PAGE: u32 = 500;
/// Changes that are handed over in one go.
const BATCH: usize = 512;

/// How long nothing may come.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// In a watch. Bookmarks come every minute (k8s.io/apiserver, storage/cacher: bookmarkFrequency), and the server is not
    /// asked to be exact.
    pub watch: Duration,
    /// Among initial events, and between pieces of a page.
    pub list: Duration,
    /// For all initial events; a server that does not know them sends on for ever.
    pub initial: Duration,
    /// A server that cannot stream a list is asked again for one after this.
    pub pages: Duration,
    /// A watch that has not failed for so long works, though nothing happens.
    pub proof: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            watch: Duration::from_secs(100),
            list: Duration::from_secs(15),
            initial: Duration::from_secs(120),
            pages: Duration::from_secs(3600),
            proof: Duration::from_secs(2),
        }
    }
}

/// What a feed hands over.
#[derive(Debug)]
pub enum Message {
    /// In this order.
    Changes(Vec<Change>),
    /// All that was there when the list began has been handed over.
    Synced(Collection),
    /// The board tells something new.
    News,
}

/// See the head of the file.
pub struct Feed {
    pub collection: Collection,
    pub client: Client,
    pub rules: Rules,
    pub board: Arc<Mutex<Board>>,
    pub sender: Sender<Message>,
    /// Do not wait for the next try any longer.
    pub hurry: Arc<Notify>,
    pub limits: Limits,
}

struct State {
    feed: Feed,
    ledger: Ledger,
    /// Where a watch goes on; `None`: only a list helps.
    position: Option<String>,
    /// The connection broke: whether the server's history is still ours must be asked.
    ask: bool,
    /// Until then lists come in pages.
    pages_until: Option<Instant>,
    /// The server forgot a list between two of its pages: the next one is asked for whole.
    unpaged: bool,
    backoff: Backoff,
    changes: Vec<Change>,
    events: u64,
}

/// How a watch went.
#[derive(PartialEq)]
enum Watched {
    /// The server ended it when its time was over.
    ToTheEnd,
    /// The server does not stream lists.
    NotAtAll,
}

/// Nobody listens any more.
struct Closed;

/// Why a step ended.
enum End {
    Closed,
    Failure(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Closed> for End {
    fn from(Closed: Closed) -> Self {
        Self::Closed
    }
}

impl From<Doubt> for End {
    fn from(Doubt: Doubt) -> Self {
        Self::Failure(Failure::History("versions went backwards, as after a restore from a backup"))
    }
}

impl Feed {
    /// Ends when nobody listens any more.
    pub async fn run(self) {
        let ledger = Ledger::new(self.collection);
        let mut state = State {
            feed: self,
            ledger,
            position: None,
            ask: false,
            pages_until: None,
            unpaged: false,
            backoff: Backoff::default(),
            changes: Vec::new(),
            events: 0,
        };
        loop {
            let begun = Instant::now();
            let outcome = state.round().await;
            let handed = state.hand_over().await;
            let failure = match outcome {
                _ if handed.is_err() => return,
                Ok(()) if begun.elapsed() >= Duration::from_secs(1) => continue,
                // A server that ends every watch at once must not be asked in a circle.
                Ok(()) => Failure::Connection("the server ends the watch at once".to_owned()),
                Err(End::Closed) => return,
                Err(End::Failure(failure)) => failure,
            };
            if state.pause(failure, begun).await.is_err() {
                return;
            }
        }
    }
}

impl State {
    /// A list if one is needed, then a watch until it ends.
    async fn round(&mut self) -> Result<(), End> {
        if self.ask {
            self.ask_history().await?;
            self.ask = false;
        }
        if self.position.is_none() {
            let streaming = self.pages_until.is_none_or(|until| Instant::now() >= until);
            if streaming && self.watch(true).await? == Watched::ToTheEnd {
                return Ok(());
            }
            self.list().await?;
        }
        self.watch(false).await.map(|_| ())
    }

    /// Pages until the last.
    async fn list(&mut self) -> Result<(), End> {
        self.ledger.begin();
        let mut next: Option<String> = None;
        loop {
            let token = next.take().map(|token| format!("&continue={}", escaped(&token))).unwrap_or_default();
            let limit = if self.unpaged { String::new() } else { format!("limit={PAGE}{token}") };
            let page = self.page(&limit).await.inspect_err(|end| {
                self.unpaged |= matches!(end, End::Failure(Failure::History(_)));
            })?;
            for object in page.objects {
                self.events += 1;
                self.ledger.put(object, &mut self.changes)?;
            }
            next = page.next;
            if next.is_none() {
                self.unpaged = false;
                return Ok(self.complete(page.version).await?);
            }
            self.hand_over().await?;
        }
    }

    async fn page(&mut self, query: &str) -> Result<Page, End> {
        let response = self.feed.client.send(self.request(query)).await?;
        let json = whole(response.into_body(), self.feed.limits.list).await?;
        let page = self.feed.collection.page(&json, &mut self.feed.rules);
        let title = self.feed.collection.name();
        let page = page.map_err(|error| Failure::Nonsense(format!("a page of {title}: {error}")))?;
        if page.version.is_empty() {
            // Whatever this is, it must not be taken for an empty list.
            return Err(Failure::Nonsense(format!("a page of {title}: it has no version")).into());
        }
        Ok(page)
    }

    /// A server that was restored from a backup takes a version from its future without a word, and sends nothing until it
    /// gets there. A consistent read of one object tells its present.
    async fn ask_history(&mut self) -> Result<(), End> {
        let Some(newest) = self.ledger.newest().filter(|_| self.position.is_some()) else { return Ok(()) };
        let page = self.page("limit=1").await?;
        if page.version.parse().is_ok_and(|present: u64| present < newest) {
            self.position = None;
        }
        Ok(())
    }

    /// Until the server ends it. `list`: with everything that is there at the beginning.
    async fn watch(&mut self, list: bool) -> Result<Watched, End> {
        let common = format!("watch=true&allowWatchBookmarks=true&timeoutSeconds={}", watch_seconds());
        let query = match &self.position {
            Some(position) if !list => format!("{common}&resourceVersion={}", escaped(position)),
            _ => format!("{common}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"),
        };
        let response = match self.feed.client.send(self.request(&query)).await {
            // 400 and 422: the server knows the parameters, and may not use them.
            Err(Failure::Refused { code: 400 | 422, .. }) if list => {
                self.pages_until = Some(Instant::now() + self.feed.limits.pages);
                return Ok(Watched::NotAtAll);
            }
            response => response?,
        };
        let mut lines = Lines::new(response.into_body());
        if list {
            self.ledger.begin();
            if let Err(end) = self.initial(&mut lines).await {
                if matches!(end, End::Failure(Failure::NoEnd)) {
                    self.pages_until = Some(Instant::now() + self.feed.limits.pages);
                }
                return Err(end);
            }
        }
        let mut proven = list;
        loop {
            while let Some(line) = lines.take() {
                let event = parse(self.feed.collection, line, &mut self.feed.rules)?;
                self.event(event).await?;
                proven = true;
            }
            self.hand_over().await?;
            let limit = if proven { self.feed.limits.watch } else { self.feed.limits.proof };
            match lines.fill(limit).await {
                Err(Failure::Silence(_)) if !proven => {
                    proven = true;
                    self.works(0).await?;
                }
                Ok(true) => {}
                Ok(false) => return Ok(Watched::ToTheEnd),
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// What is there at the beginning, up to the bookmark that ends it.
    async fn initial(&mut self, lines: &mut Lines) -> Result<(), End> {
        let begun = Instant::now();
        loop {
            while let Some(line) = lines.take() {
                match parse(self.feed.collection, line, &mut self.feed.rules)? {
                    Event::Bookmark { version, initial_end: true } if !version.is_empty() => {
                        return Ok(self.complete(version).await?);
                    }
                    Event::Put(object) => {
                        self.events += 1;
                        self.ledger.put(object, &mut self.changes)?;
                    }
                    Event::Error(status) => return Err(Failure::status(status, None).into()),
                    // Deletions come behind the end. A server that sends one before it knows of no end.
                    Event::Deleted { .. } => return Err(Failure::NoEnd.into()),
                    Event::Bookmark { .. } | Event::Unknown => {}
                }
                if self.changes.len() >= BATCH {
                    self.hand_over().await?;
                }
            }
            match lines.fill(self.feed.limits.list).await {
                Err(Failure::Silence(_)) => return Err(Failure::NoEnd.into()),
                Ok(true) if begun.elapsed() > self.feed.limits.initial => return Err(Failure::NoEnd.into()),
                Ok(true) => {}
                Ok(false) => {
                    let text = "the server ended the watch among the initial events";
                    return Err(Failure::Connection(text.to_owned()).into());
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    async fn event(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Put(object) => {
                self.events += 1;
                let version = object.version;
                self.ledger.put(object, &mut self.changes)?;
                self.moved(version);
            }
            Event::Deleted { name, version } => {
                self.events += 1;
                self.ledger.delete(name, version, &mut self.changes)?;
                self.moved(version);
            }
            Event::Bookmark { version, .. } => {
                self.events += 1;
                self.ledger.advance(version.parse().ok())?;
                self.position = Some(version);
            }
            Event::Error(status) => return Err(Failure::status(status, None).into()),
            Event::Unknown => {}
        }
        if self.changes.len() >= BATCH {
            self.hand_over().await?;
        }
        Ok(())
    }

    fn moved(&mut self, version: Option<u64>) {
        if let Some(version) = version {
            self.position = Some(version.to_string());
        }
    }

    async fn complete(&mut self, version: String) -> Result<(), Closed> {
        self.ledger.complete(version.parse().ok(), &mut self.changes);
        self.position = Some(version);
        self.board(Board::listed);
        tracing::debug!(objects = self.ledger.len(), "{}: the list is complete", self.feed.collection.name());
        self.hand_over().await?;
        self.works(0).await?;
        self.send(Message::Synced(self.feed.collection)).await
    }

    /// Gives out the changes so far.
    async fn hand_over(&mut self) -> Result<(), Closed> {
        let told = self.ledger.take_told();
        if !self.changes.is_empty() {
            let changes = std::mem::take(&mut self.changes);
            self.send(Message::Changes(changes)).await?;
        }
        if !told.is_empty() && self.board(|board, collection| board.told(collection, told)) {
            self.send(Message::News).await?;
        }
        // The beginning of a list proves nothing.
        match std::mem::take(&mut self.events) {
            0 => Ok(()),
            events if self.ledger.is_listing() => {
                self.board(|board, collection| board.count(collection, events));
                Ok(())
            }
            events => self.works(events).await,
        }
    }

    async fn works(&mut self, events: u64) -> Result<(), Closed> {
        self.backoff.reset();
        let news = self.board(|board, collection| {
            board.count(collection, events);
            board.works(collection)
        });
        if news { self.send(Message::News).await } else { Ok(()) }
    }

    /// Decides how it goes on after a failure, and waits.
    async fn pause(&mut self, failure: Failure, begun: Instant) -> Result<(), Closed> {
        match &failure {
            Failure::History(_) => self.position = None,
            Failure::NoEnd => {}
            _ => self.ask = true,
        }
        if failure.is_about_access() {
            // Not every broken stream is the client's to see.
            self.feed.client.distrust(begun).await;
        }
        let pause = self.backoff.pause(&failure);
        let failures = self.backoff.failures();
        tracing::debug!(failures, ?pause, "{}: {failure}", self.feed.collection.name());
        if self.board(|board, collection| board.fails(collection, &failure, failures)) {
            self.send(Message::News).await?;
        }
        select! {
            () = sleep(pause) => {}
            () = self.feed.hurry.notified() => {}
            () = self.feed.sender.closed() => return Err(Closed),
        }
        Ok(())
    }

    fn board<T>(&self, tell: impl FnOnce(&mut Board, Collection) -> T) -> T {
        tell(&mut self.feed.board.lock().unwrap_or_else(PoisonError::into_inner), self.feed.collection)
    }

    async fn send(&self, message: Message) -> Result<(), Closed> {
        self.feed.sender.send(message).await.map_err(|_| Closed)
    }

    fn request(&self, query: &str) -> Request<Vec<u8>> {
        let (path, selectors) = self.feed.collection.request(&self.feed.rules);
        let separator = if selectors.is_empty() { "" } else { "&" };
        let mut request = Request::new(Vec::new());
        // Of letters, digits and escapes only.
        if let Ok(uri) = format!("{path}?{selectors}{separator}{query}").parse() {
            *request.uri_mut() = uri;
        }
        request
    }
}

fn parse(collection: Collection, line: &[u8], rules: &mut Rules) -> Result<Event, Failure> {
    let event = collection.event(line, rules);
    event.map_err(|error| Failure::Nonsense(format!("a line of the watch of {}: {error}", collection.name())))
}
