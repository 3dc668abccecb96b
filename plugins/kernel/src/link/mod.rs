//! Links: reading them, making veth pairs and bridges, and their settings.

mod create;
mod read;
mod set;
mod wait;

pub use create::{Bridge, VethEnd, VethIndices, VethPair, create_bridge, create_veth, delete, delete_by_name};
pub use read::{Link, Port, get_by_index, get_by_name, list};
pub use set::{
    PortSettings, set_alias, set_alias_and_port, set_alias_and_state, set_all_multicast, set_down, set_mac, set_master,
    set_mtu, set_port, set_promiscuous, set_tx_queue, set_up, set_up_announcing,
};
pub use wait::wait_until_forwarding;

pub use netlink_packet_route::link::{BridgePortState, LinkFlags, State as OperState};
