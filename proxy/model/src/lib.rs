//! The service proxy's decisions, pure: facts → policy → desired tables → ordered map operations.
//!
//! Does no I/O, reads no clock, knows no Kubernetes type and no kernel. Invariant others may rely on: after any prefix of
//! the operations that this crate orders, every frontend resolves to a backend that is alive in the old or in the new state.

mod actual;
mod desired;
mod diff;
mod endpoints;
mod engine;
mod facts;
mod ids;
mod memory;
mod notice;
mod policy;
mod ranges;
mod render;
mod resolve;
mod restore;
mod settings;
mod tables;
mod walk;

pub use actual::{Actual, Fill, Retired, ip_addr, socket_addr};
pub use desired::{Desired, DesiredFrontend, FrontendKind, Masquerade, WhenEmpty};
pub use diff::{NoRoom, Plan, diff};
pub use endpoints::Topology;
pub use engine::{Engine, Recomputed};
pub use facts::{
    Change, Endpoint, Family, Hints, NodeFact, ObjectName, Protocol, ServiceFact, ServicePort, SliceFact, SlicePort,
    TrafficPolicy,
};
pub use ids::{Region, Regions, Slots};
pub use memory::Tables;
pub use notice::{Notice, Subject, Weight};
pub use policy::{HealthCheck, NoLocal, address_bytes, any_node, frontend_key};
pub use ranges::{range_key, range_net};
pub use render::{
    class_name, entry_name, frontend_name, option_phrases, protocol_name, render_desired, render_dump, render_view,
};
pub use resolve::{Break, Outcome, Resolved, View};
pub use settings::{DetectLocal, Scopes, Settings};
pub use tables::{Dump, DumpedSet, Entry, MapOp, Sizes};
pub use walk::{Client, Verdict, Why};
