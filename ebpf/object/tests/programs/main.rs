//! The programs in the kernel: the verifier takes them, sockets get what the tables say, and no update of
//! the tables misleads or fails a connection. Needs root; takes away what it made.

mod affinity;
mod hooks;
mod node_ports;
mod sockets;
mod source_ranges;
mod storm;
mod traffic;
mod verdicts;
mod verifier;
