//! Clients of services with source ranges: the addresses of their network namespaces are told to the programs.
//!
//! Only as long as there is a source range at all. Names that a container runtime makes are seen within a [`PERIOD`], which is
//! before the first process of a pod runs; everything else is looked for when a program met a client that it does not know.

use std::time::Duration;

use crate::maps::Maps;
use crate::maps::namespaces::{Depth, Namespaces};

use super::Applier;

/// How often to look for new names, and whether a client was not known.
pub const PERIOD: Duration = Duration::from_millis(200);

/// What has been told.
#[derive(Debug, Default)]
pub struct Clients {
    namespaces: Namespaces,
    /// Clients that the programs had not known at the last look; `None`: there was none.
    unknown: Option<u64>,
    last_error: Option<String>,
}

impl Clients {
    /// The next look is at everything.
    pub fn look_again(&mut self) {
        self.unknown = None;
    }
}

impl<M: Maps> Applier<M> {
    /// Tells the programs of clients, as far as services with source ranges need it. To be called again after the time that
    /// is returned, and, `None`, when entries may have been written.
    pub fn meet_clients(&mut self) -> Option<Duration> {
        if self.actual.fill().ranges == 0 {
            // The next range begins with a look at everything.
            self.clients.look_again();
            return None;
        }
        let unknown = self.maps.unknown_clients().unwrap_or_default();
        let depth = match self.clients.unknown {
            None => Depth::Everything,
            Some(before) if before == unknown => Depth::Names,
            Some(_) => Depth::Processes,
        };
        self.clients.unknown = Some(unknown);
        let news = self.clients.namespaces.look(depth);
        let mut error = None;
        for (cookie, addresses) in news.put {
            if let Err(failed) = self.maps.put_client(cookie, &addresses) {
                self.clients.namespaces.forget(cookie);
                error = Some(format!("{failed:#}"));
            }
        }
        for cookie in news.gone {
            // Left there it takes room and harms nobody: its number is given to no other namespace.
            error = self.maps.delete_client(cookie).err().map(|failed| format!("{failed:#}")).or(error);
        }
        if let Some(text) = &error
            && self.clients.last_error != error
        {
            tracing::warn!("clients of services with source ranges will be dropped: {text}");
        }
        self.clients.last_error = error;
        Some(PERIOD)
    }
}
