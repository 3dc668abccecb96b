//! The CNI protocol: environment, configuration, results, versions, errors, delegation and dispatch.
//!
//! This room knows the Container Network Interface specification 1.1.0, every older version of it, and the habits of the
//! reference implementation that existing configurations rely on. It must not know the kernel: no netlink, no
//! namespaces, no sysctl. Plugins rely on this: what reaches [`Plugin`] has been checked in the reference's order, and
//! what they return is printed in the version the caller asked for; they never print themselves.

pub mod address;
pub mod args;
mod attachments;
pub mod delegate;
mod environment;
mod error;
pub mod gojson;
mod plugin;
mod request;
mod result;
mod version;
mod wire;

pub use attachments::Attachment;
pub use environment::{Command, interface_name as check_interface_name, is_valid_name};
pub use error::{CniError, Code};
pub use plugin::{Io, Plugin, STDIN_LIMIT, install_panic_hook, run};
pub use request::Request;
pub use result::{CniResult, Dns, Interface, IpConfig, Route};
pub use version::{Version, numbers as version_numbers};
