//! The lines of an answer that never ends, and the whole of one that does.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::failure::Failure;

/// No object is larger: etcd takes 1.5 MiB, and a line is one object.
const LONGEST_LINE: usize = 64 << 20;
/// A page is never larger: 500 objects of the largest size that is seen in practice, a hundred times.
const LARGEST_PAGE: usize = 1 << 30;
/// Memory that is kept for the next line.
const KEPT: usize = 256 << 10;

/// See the head of the file.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
    /// Where in `buffer` the next line begins.
    start: usize,
    /// Up to here there is no end of a line.
    searched: usize,
}

impl Lines {
    /// Of this answer.
    pub fn new(body: Incoming) -> Self {
        Self { body, buffer: Vec::new(), start: 0, searched: 0 }
    }

    /// The next line if all of it is there. Empty lines are passed over.
    pub fn take(&mut self) -> Option<&[u8]> {
        loop {
            let end = self.searched + self.buffer[self.searched..].iter().position(|byte| *byte == b'\n')?;
            let line = self.start..end;
            (self.start, self.searched) = (end + 1, end + 1);
            if !self.buffer[line.clone()].trim_ascii().is_empty() {
                return Some(&self.buffer[line]);
            }
        }
    }

    /// Waits for more, at most so long. `false`: the answer has ended.
    pub async fn fill(&mut self, limit: Duration) -> Result<bool, Failure> {
        self.buffer.drain(..self.start);
        self.searched = self.buffer.len();
        self.start = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT {
            self.buffer = Vec::with_capacity(KEPT);
        }
        if self.buffer.len() > LONGEST_LINE {
            return Err(Failure::Nonsense(format!("a line of more than {} MiB", LONGEST_LINE >> 20)));
        }
        match timeout(limit, self.body.frame()).await {
            Err(_) => Err(Failure::Silence(limit)),
            Ok(None) => Ok(false),
            Ok(Some(Err(error))) => Err(Failure::connection(&error)),
            Ok(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.buffer.extend_from_slice(data);
                }
                Ok(true)
            }
        }
    }
}

/// All of an answer. `limit`: between any two pieces of it.
pub async fn whole(mut body: Incoming, limit: Duration) -> Result<Vec<u8>, Failure> {
    let mut whole = Vec::new();
    loop {
        match timeout(limit, body.frame()).await {
            Err(_) => return Err(Failure::Silence(limit)),
            Ok(None) => return Ok(whole),
            Ok(Some(Err(error))) => return Err(Failure::connection(&error)),
            Ok(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    whole.extend_from_slice(data);
                }
            }
        }
        if whole.len() > LARGEST_PAGE {
            return Err(Failure::Nonsense(format!("a page of more than {} MiB", LARGEST_PAGE >> 20)));
        }
    }
}
