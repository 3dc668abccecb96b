//! The overlay in the lab: nodes as namespaces on one switch, each with its own agent; pods behind them. Pods are wired by
//! hand here, so that a fault of a plugin is no fault of the overlay.

mod families;
mod faults;
mod files;
mod life;
mod stage;
mod tunnel;
