//! A Kubernetes API server: Services, EndpointSlices and Nodes, each by a watch of its own.
//!
//! What was received stays in force until something newer comes, whatever becomes of the server. At the start nothing counts
//! before Services and EndpointSlices have been read to their end, and Nodes too unless the server will not give them.

mod access;
mod board;
pub mod client;
mod failure;
mod feed;
mod ledger;
mod lines;
mod pace;
mod round;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use fairlead_proxy_model::Change;
use tokio::select;
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::board::Board;
use self::client::Client;
use self::feed::{Feed, Limits, Message};
use super::Problem;
use crate::config::KubernetesConfig;
use crate::convert::Rules;
use crate::convert::api::Collection;

/// Messages that wait for the loop; a feed that finds no room waits, and so does its server.
const WAITING: usize = 64;
/// With Services and EndpointSlices complete, Nodes are waited for so long: without them only zones are unknown.
const NODES_PATIENCE: Duration = Duration::from_secs(10);

/// See the head of the file.
#[derive(Debug)]
pub struct Kubernetes {
    client: Client,
    feeds: JoinSet<()>,
    receiver: Receiver<Message>,
    waiting: VecDeque<Message>,
    board: Arc<Mutex<Board>>,
    hurry: Arc<Notify>,
    /// Collections that have been read to their end, and handed over.
    synced: BTreeSet<Collection>,
    /// Until then Nodes are waited for.
    nodes_by: Option<Instant>,
    /// The wait for Nodes is over.
    without_nodes: bool,
}

impl Kubernetes {
    /// Starts to watch. Refuses what cannot be meant; a server that is away is waited for, for ever.
    pub async fn open(config: &KubernetesConfig, proxy_name: Option<&str>) -> Result<Self> {
        Self::open_with(config, proxy_name, Limits::default()).await
    }

    async fn open_with(config: &KubernetesConfig, proxy_name: Option<&str>, limits: Limits) -> Result<Self> {
        let client = Client::new(config).await?;
        let board = Arc::new(Mutex::new(Board::default()));
        let hurry = Arc::new(Notify::new());
        let (sender, receiver) = channel(WAITING);
        let mut feeds = JoinSet::new();
        for collection in [Collection::Services, Collection::Slices, Collection::Nodes] {
            let feed = Feed {
                collection,
                client: client.clone(),
                rules: Rules::new(proxy_name.map(str::to_owned)),
                board: board.clone(),
                sender: sender.clone(),
                hurry: hurry.clone(),
                limits,
            };
            feeds.spawn(feed.run());
        }
        Ok(Self {
            client,
            feeds,
            receiver,
            waiting: VecDeque::new(),
            board,
            hurry,
            synced: BTreeSet::new(),
            nodes_by: None,
            without_nodes: false,
        })
    }

    /// Waits until there is something to load or to tell. May be dropped and called again at any time.
    pub async fn changed(&mut self) -> Result<()> {
        if !self.waiting.is_empty() {
            return Ok(());
        }
        let nodes_by = self.nodes_by.filter(|_| !self.is_synced());
        select! {
            message = self.receiver.recv() => match message {
                Some(message) => self.waiting.push_back(message),
                None => bail!("all watches of the API server have ended"),
            },
            Some(ended) = self.feeds.join_next() => {
                // Only a panic ends one.
                return Err(anyhow!("a watch of the API server ended: {:?}", ended.err().map(|error| error.to_string())));
            }
            () = async { sleep_until(nodes_by.unwrap_or_else(Instant::now)).await }, if nodes_by.is_some() => {
                self.without_nodes = true;
            }
        }
        Ok(())
    }

    /// Takes in about `limit` changes. `true`: there are more.
    pub fn load(&mut self, limit: usize, changes: &mut Vec<Change>) -> bool {
        let enough = changes.len() + limit;
        while changes.len() < enough {
            let Some(message) = self.waiting.pop_front().or_else(|| self.receiver.try_recv().ok()) else {
                return false;
            };
            match message {
                Message::Changes(mut more) => changes.append(&mut more),
                Message::Synced(collection) => self.note_synced(collection),
                Message::News => {}
            }
        }
        self.waiting.extend(self.receiver.try_recv());
        !self.waiting.is_empty()
    }

    /// Whether everything that was there at the start has been loaded. Stays so.
    pub fn is_synced(&self) -> bool {
        self.services_and_slices() && (self.without_nodes || self.synced.contains(&Collection::Nodes))
    }

    /// Everything that an operator should know about the server and its objects.
    pub fn problems(&self) -> BTreeSet<Problem> {
        self.board().problems(&self.client.server())
    }

    /// Tries again at once what has failed. The lists themselves need no look: the server tells every change.
    pub fn rescan(&mut self) {
        self.hurry.notify_waiters();
    }

    /// The way to the server, for whoever has something to tell it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Has every restart of a watch told: the name of its collection, and why in one word.
    pub fn observe_restarts(&self, observer: impl Fn(&'static str, &'static str) + Send + 'static) {
        self.board().observe(Box::new(move |collection, why| observer(collection.name(), why)));
    }

    /// Each watch, and whether it has had a complete list and does not fail.
    pub fn watches(&self) -> Vec<(String, bool)> {
        let board = self.board();
        let all = [Collection::Services, Collection::Slices, Collection::Nodes];
        all.map(|collection| (collection.name().to_owned(), board.stands(collection))).into()
    }

    fn services_and_slices(&self) -> bool {
        self.synced.contains(&Collection::Services) && self.synced.contains(&Collection::Slices)
    }

    fn note_synced(&mut self, collection: Collection) {
        self.synced.insert(collection);
        if self.services_and_slices() && self.nodes_by.is_none() {
            self.nodes_by = Some(Instant::now() + NODES_PATIENCE);
        }
    }

    fn board(&self) -> std::sync::MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
