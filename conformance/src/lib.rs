//! The judge: cases, the lab, peers to compare with, benchmarks.
//!
//! This room must not touch any other crate of the house: it reads the kernel through `ip`, `bridge`, `nft`, `bpftool`
//! and `/proc`, and the products through their command lines, so that a mistake in our own parser cannot hide itself.
//! Others may rely on [`lab::Lab`]: whatever it made is gone after its drop, also when the test panicked, and what a
//! killed run left is removed by the next one.

pub mod bench;
pub mod capture;
pub mod cases;
pub mod cni;
pub mod demo;
pub mod differential;
pub mod dist;
pub mod kubernetes;
pub mod lab;
pub mod limit;
pub mod peers;
pub mod scripted;
pub mod snapshot;
pub mod traffic;
