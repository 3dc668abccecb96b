//! One turn of a feed: a list if one is needed, then a watch until it ends.
//!
//! A list is asked for as a stream where the server has that (`sendInitialEvents`, KEP-3157): object by object, and a bookmark
//! at the end. A server that refuses it, or never sends that bookmark, is asked for pages.

use http::Request;
use tokio::time::Instant;

use super::failure::Failure;
use super::feed::{BATCH, End, State};
use super::lines::{Lines, whole};
use super::pace::watch_seconds;
use crate::convert::Rules;
use crate::convert::api::{Collection, Event, Page, escaped};

/// Objects in a page; as client-go.
const PAGE: u32 = 500;
/// How a watch went.
#[derive(PartialEq)]
enum Watched {
    /// The server ended it when its time was over.
    ToTheEnd,
    /// The server does not stream lists.
    NotAtAll,
}

impl State {
    /// A list if one is needed, then a watch until it ends.
    pub async fn round(&mut self) -> Result<(), End> {
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
                self.seen = true;
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
                    self.works().await?;
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
                        self.seen = true;
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
                self.seen = true;
                let version = object.version;
                self.ledger.put(object, &mut self.changes)?;
                self.moved(version);
            }
            Event::Deleted { name, version } => {
                self.seen = true;
                self.ledger.delete(name, version, &mut self.changes)?;
                self.moved(version);
            }
            Event::Bookmark { version, .. } => {
                self.seen = true;
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
