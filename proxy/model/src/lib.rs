//! The service proxy's decisions, pure: facts → policy → desired tables → ordered map operations.
//!
//! Does no I/O, reads no clock, knows no Kubernetes type and no kernel. Invariant others may rely on: after any prefix of
//! the operations that this crate orders, every frontend resolves to a backend that is alive in the old or in the new state.

mod actual;
mod desired;
mod diff;
mod engine;
mod facts;
mod ids;
mod policy;
mod render;
mod resolve;
mod settings;
mod tables;

pub use actual::{Actual, Fill, Retired, ip_addr, socket_addr};
pub use desired::{Desired, DesiredFrontend};
pub use diff::{NoRoom, Plan, diff};
pub use engine::{Engine, Recomputed};
pub use facts::{
    Change, Endpoint, Family, Hints, NodeFact, ObjectName, Protocol, ServiceFact, ServicePort, SliceFact, SlicePort,
    TrafficPolicy,
};
pub use ids::{Region, Regions, Slots};
pub use policy::{Notice, PortTable, ServiceTable, address_bytes, expand, frontend_key};
pub use render::{entry_name, frontend_name, protocol_name, render_desired, render_dump, render_outcomes};
pub use resolve::{Break, Outcome, Tables};
pub use settings::{DetectLocal, Scopes, Settings};
pub use tables::{Dump, DumpedSet, Entry, MapOp, Sizes};
