//! What `bridge` and `ptp` share: a veth pair between the node and a container, from its birth to its last trace.
//!
//! | room | holds |
//! | --- | --- |
//! | `keys` | keys of the configuration that both have |
//! | `routes` | the container's routes and sysctls, as plans |
//! | `made` | what an ADD made, and how to take it back |
//! | `pair` | the pair: named after its attachment, findable without anything else |
//! | `furnish` | the container's side: sysctls, addresses, up, routes |
//! | `ready` | carrier, announcement, and what the node remembers of the addresses |
//! | `forwarding` | the node forwards |
//! | `check` | CHECK: what there is against what was said |
//! | `find`, `detach` | DEL: finding the host's end by as little as there is, and removing everything |
//! | `rules` | what an attachment has in nf_tables |
//! | `collect` | GC |

pub mod check;
pub mod collect;
pub mod detach;
mod find;
pub mod forwarding;
pub mod furnish;
pub mod keys;
pub mod made;
pub mod pair;
pub mod ready;
pub mod routes;
mod rules;
