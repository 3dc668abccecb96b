//! The service proxy beside kube-proxy, on one API server.

mod cases;
mod chance;
mod control_plane;
mod hairpin;
mod health;
mod judged;
mod metrics;
mod nodes;
mod outage;
mod play;
mod side;
mod stage;
mod targets;
