//! The watch of one collection, for as long as the daemon lives: list, watch, and what to do when either fails.
//!
//! Our own loop and not `kube-runtime`'s: that one buffers a list before it gives it out, logs each try, cannot tell a server
//! that is silent from one that has nothing to say, and knows no limit for a stream of initial events without an end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fairlead_proxy_model::Change;
use tokio::select;
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};

use super::board::Board;
use super::client::Client;
use super::failure::Failure;
use super::ledger::{Doubt, Ledger};
use super::pace::Backoff;
use crate::convert::Rules;
use crate::convert::api::Collection;

/// Changes that are handed over in one go.
pub const BATCH: usize = 512;

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

/// Where a feed stands.
pub struct State {
    pub feed: Feed,
    pub ledger: Ledger,
    /// Where a watch goes on; `None`: only a list helps.
    pub position: Option<String>,
    /// The connection broke: whether the server's history is still ours must be asked.
    pub ask: bool,
    /// Until then lists come in pages.
    pub pages_until: Option<Instant>,
    /// The server forgot a list between two of its pages: the next one is asked for whole.
    pub unpaged: bool,
    backoff: Backoff,
    pub changes: Vec<Change>,
    /// Something came since the last hand-over.
    pub seen: bool,
}

/// Nobody listens any more.
pub struct Closed;

/// Why a step ended.
pub enum End {
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
            seen: false,
        };
        loop {
            let begun = Instant::now();
            let outcome = state.round().await;
            let handed = state.hand_over().await;
            let failure = match outcome {
                _ if handed.is_err() => return,
                Ok(()) if begun.elapsed() >= Duration::from_secs(1) => continue,
                // A server that ends every watch at once must not be asked in a circle.
                Ok(()) => Failure::Ended,
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
    pub async fn complete(&mut self, version: String) -> Result<(), Closed> {
        self.ledger.complete(version.parse().ok(), &mut self.changes);
        self.position = Some(version);
        self.board(Board::listed);
        tracing::debug!(objects = self.ledger.len(), "{}: the list is complete", self.feed.collection.name());
        self.hand_over().await?;
        self.works().await?;
        self.send(Message::Synced(self.feed.collection)).await
    }

    /// Gives out the changes so far.
    pub async fn hand_over(&mut self) -> Result<(), Closed> {
        let told = self.ledger.take_told();
        if !self.changes.is_empty() {
            let changes = std::mem::take(&mut self.changes);
            self.send(Message::Changes(changes)).await?;
        }
        if !told.is_empty() && self.board(|board, collection| board.told(collection, told)) {
            self.send(Message::News).await?;
        }
        // The beginning of a list proves nothing.
        if std::mem::take(&mut self.seen) && !self.ledger.is_listing() { self.works().await } else { Ok(()) }
    }

    /// It works: the next pause is a short one, and an operator hears of it.
    pub async fn works(&mut self) -> Result<(), Closed> {
        self.backoff.reset();
        if self.board(Board::works) { self.send(Message::News).await } else { Ok(()) }
    }

    /// Decides how it goes on after a failure, and waits.
    async fn pause(&mut self, failure: Failure, begun: Instant) -> Result<(), Closed> {
        match &failure {
            Failure::History(_) => self.position = None,
            Failure::NoEnd | Failure::Ended => {}
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
}
