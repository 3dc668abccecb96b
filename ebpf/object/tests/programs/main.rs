//! The programs in the kernel: the verifier takes them, sockets get what the tables say, and no update of
//! the tables misleads or fails a connection. Needs root; takes away what it made.

mod hooks;
mod sockets;
mod storm;
mod verifier;
