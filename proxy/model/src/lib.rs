//! The service proxy's decisions, pure: facts → policy → desired tables → ordered map operations.
//!
//! Does no I/O, reads no clock, knows no Kubernetes type and no kernel. Invariant others may rely on: after any prefix of
//! the operations that this crate orders, every frontend resolves to a backend that is alive in the old or in the new state.

mod tables;

pub use tables::{Dump, DumpedSet, MapOp, Sizes};
