//! The service proxy in the lab: one node with its own cgroup and bpffs, backends told apart by their ports, services as
//! files. What the files say and what clients see are compared; nothing is asked of the proxy's own code.

mod doctor;
mod edits;
mod flows;
mod inputs;
mod kinds;
mod reload;
mod restart;
mod settings;
mod stage;
mod storm;
mod surface;
