//! The service proxy beside kube-proxy, on one API server.

mod cases;
mod control_plane;
mod health;
mod judged;
mod play;
mod side;
mod stage;
mod targets;
