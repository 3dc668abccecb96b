//! Plugins that change what others made: chained ones, and those that hand on.

pub mod bandwidth;
pub mod firewall;
pub mod flannel;
pub mod portmap;
pub mod tuning;
