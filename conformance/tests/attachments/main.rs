//! Attachments of `bridge`, `ptp` and `loopback`: what they are, what they survive, and that nothing is left of them.

mod bridge;
mod del;
mod gc;
mod hygiene;
mod loopback;
mod ptp;
mod scene;
mod vlan;
