//! A Kubernetes control plane in the lab, and what stands on it: nodes with pods, the objects that describe them, kube-proxy
//! on one node and ours on another.

mod api;
mod certificates;
mod cluster;
mod control_plane;
mod proxies;

pub use api::{Api, Visit};
pub use certificates::Certificates;
pub use cluster::{CLUSTER_CIDRS, Cluster, Member, POD_PORTS};
pub use control_plane::{ControlPlane, SERVICE_CIDRS};
pub use proxies::Proxy;
