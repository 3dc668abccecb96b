//! The overlay, decided: from the text of a peers file to the device, routes, neighbours and FDB entries a node must have,
//! and from there to the ordered operations that turn what the kernel has into that.
//!
//! This room does no I/O, knows no clock, no netlink and no Kubernetes. Others may rely on: a [`Peers`] value is
//! consistent (no two nodes share a subnet, an underlay address or a MAC), [`diff`](tables::diff) of a state with itself is
//! empty, and applying it to any state gives the desired one.

pub mod device;
pub mod file;
pub mod mac;
pub mod mtu;
pub mod peers;
pub mod subnet_env;
pub mod tables;
mod validate;

pub use device::{DeviceFacts, DeviceOperation, DeviceSpec, Underlay};
pub use mac::Mac;
pub use peers::{Node, Peers, PeersError};
pub use subnet_env::SubnetFile;
pub use tables::{Operation, Plan, Tables};
