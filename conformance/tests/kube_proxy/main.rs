//! The service proxy beside kube-proxy.

mod control_plane;
