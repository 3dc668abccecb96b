//! A Kubernetes control plane in the lab, and what stands on it: nodes with pods, the objects that describe them, kube-proxy
//! on one node and ours on another.

mod api;
mod certificates;
mod control_plane;

pub use api::{Api, Visit};
pub use certificates::Certificates;
pub use control_plane::{ControlPlane, SERVICE_CIDRS};
