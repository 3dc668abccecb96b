//! Two forms of the same object: written by a person, where each value has a place in a file, and sent by an API server.
//!
//! Shapes and rules are written once, over [`Form`]. What is different is the wrapper around a single value: in a file it
//! carries line and column, from the wire it is the value and nothing else.

use std::fmt::Debug;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::{Location, Spanned};

/// A way to write an object down.
pub trait Form: Debug {
    /// A value as this form holds it.
    type Leaf<T: DeserializeOwned + Debug>: Leaf<T>;
    /// Whether an API server has checked the object and filled in what is missing.
    const ADMITTED: bool;
}

/// A single value.
pub trait Leaf<T>: DeserializeOwned + Debug {
    /// The value.
    fn get(&self) -> &T;
    /// Where it stands within the text that was parsed.
    fn place(&self) -> Option<Location>;
}

/// As people write it, and `kubectl get -o yaml`.
#[derive(Debug)]
pub struct Written;

impl Form for Written {
    type Leaf<T: DeserializeOwned + Debug> = Spanned<T>;
    const ADMITTED: bool = false;
}

impl<T: DeserializeOwned + Debug> Leaf<T> for Spanned<T> {
    fn get(&self) -> &T {
        &self.value
    }

    fn place(&self) -> Option<Location> {
        Some(self.referenced)
    }
}

/// As an API server sends it.
#[derive(Debug)]
pub struct Sent;

impl Form for Sent {
    type Leaf<T: DeserializeOwned + Debug> = Bare<T>;
    const ADMITTED: bool = true;
}

/// A value without a place.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Bare<T>(T);

impl<T: DeserializeOwned + Debug> Leaf<T> for Bare<T> {
    fn get(&self) -> &T {
        &self.0
    }

    fn place(&self) -> Option<Location> {
        None
    }
}
