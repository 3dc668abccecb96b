//! What holds for every overlay and every state of the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fairlead_overlay_model::tables::{NextHop, Operation, RouteKey, Tables, diff};
use fairlead_overlay_model::{Mac, Node, Peers};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;

/// A node out of few, so that two overlays share some: subnet, address and MAC each from a small number.
fn node(slot: u8, address: u8, mac: u8, dual: bool) -> Node {
    Node {
        name: format!("node-{slot}"),
        address: IpAddr::from([192, 168, 77, address]),
        subnet: Some(Ipv4Net::new_assert([10, 244, slot, 0].into(), 24)),
        ipv6_subnet: dual.then(|| Ipv6Net::new_assert([0xfd00, 0x244, 0, slot.into(), 0, 0, 0, 0].into(), 64)),
        mac: Mac([0x0a, 0, 0, 0, 0, mac]),
    }
}

prop_compose! {
    /// Up to eight peers with addresses and MACs dealt out without repetition.
    fn overlay()(
        slots in proptest::collection::btree_set(1u8..12, 0..8),
        addresses in Just((2u8..14).collect::<Vec<_>>()).prop_shuffle(),
        macs in Just((2u8..14).collect::<Vec<_>>()).prop_shuffle(),
        dual in proptest::collection::vec(any::<bool>(), 12),
    ) -> Peers {
        let others = slots.iter().enumerate().map(|(n, slot)| {
            let node = node(*slot, addresses[n], macs[n], dual[n]);
            (node.name.clone(), node)
        });
        Peers {
            network: Some(Ipv4Net::new_assert([10, 244, 0, 0].into(), 16)),
            ipv6_network: Some(Ipv6Net::new_assert([0xfd00, 0x244, 0, 0, 0, 0, 0, 0].into(), 48)),
            vni: 1,
            port: 8472,
            me: node(0, 1, 1, true),
            others: others.collect(),
        }
    }
}

prop_compose! {
    /// Any state, right in places by chance: half an overlay and rubbish of the same material.
    fn state()(
        peers in overlay(),
        routes in proptest::collection::vec((1u8..16, 16u8..33, any::<bool>(), 0u32..3), 0..6),
        neighbours in proptest::collection::vec((1u8..16, 1u8..16), 0..6),
        fdb in proptest::collection::vec((0u8..16, 1u8..16), 0..8),
    ) -> Tables {
        let mut tables = Tables::desired(&peers);
        for (slot, length, onlink, metric) in routes {
            let destination = IpNet::new_assert(IpAddr::from([10, 244, slot, 0]), length).trunc();
            let gateway = Some(IpAddr::from([10, 244, slot, 0]));
            tables.routes.insert(RouteKey { destination, metric }, NextHop { gateway, onlink });
        }
        tables.neighbours.extend(neighbours.iter().map(|(slot, mac)| {
            (IpAddr::from([10, 244, *slot, 0]), Mac([0x0a, 0, 0, 0, 0, *mac]))
        }));
        tables.fdb.extend(fdb.iter().map(|(mac, address)| (Mac([0x0a, 0, 0, 0, 0, *mac]), IpAddr::from([192, 168, 77, *address]))));
        tables
    }
}

/// Whether every routed subnet resolves: route, neighbour and FDB entry lead to an address.
fn dangling(tables: &Tables) -> Vec<IpNet> {
    let resolves = |hop: &NextHop| {
        let mac = hop.gateway.and_then(|gateway| tables.neighbours.get(&gateway));
        mac.is_some_and(|mac| tables.fdb.iter().any(|(other, _)| other == mac))
    };
    tables.routes.iter().filter(|(_, hop)| !resolves(hop)).map(|(key, _)| key.destination).collect()
}

proptest! {
    #[test]
    fn applying_the_difference_gives_what_is_desired_from_any_state(peers in overlay(), state in state()) {
        let plan = diff(&peers, &state, &BTreeMap::new());
        let mut after = state;
        plan.operations().for_each(|operation| after.apply(operation));
        prop_assert_eq!(&after, &Tables::desired(&peers));
        prop_assert!(diff(&peers, &after, &BTreeMap::new()).is_empty());
    }

    #[test]
    fn no_operation_is_idle(peers in overlay(), state in state()) {
        let plan = diff(&peers, &state, &BTreeMap::new());
        let mut after = state;
        for operation in plan.operations() {
            let before = after.clone();
            after.apply(operation);
            prop_assert_ne!(before, after.clone(), "{:?}", operation);
        }
    }

    #[test]
    fn between_two_overlays_every_route_resolves_after_every_operation(old in overlay(), new in overlay()) {
        let mut state = Tables::desired(&old);
        for operation in diff(&new, &state.clone(), &BTreeMap::new()).operations() {
            state.apply(operation);
            prop_assert_eq!(dangling(&state), [] as [IpNet; 0], "after {:?}", operation);
        }
    }

    #[test]
    fn one_peers_change_touches_that_peer_alone(old in overlay(), pick in any::<prop::sample::Index>(), gone in any::<bool>()) {
        prop_assume!(!old.others.is_empty());
        let mut new = old.clone();
        let name = pick.get(&old.others.keys().cloned().collect::<Vec<_>>()).clone();
        let changed = if gone {
            new.others.remove(&name);
            BTreeSet::from_iter(old.others[&name].subnets())
        } else {
            let peer = new.others.get_mut(&name).expect("one of them");
            peer.address = IpAddr::from([192, 168, 77, 99]);
            peer.mac = Mac([0x0a, 0, 0, 0, 0, 99]);
            BTreeSet::from_iter(peer.subnets())
        };
        let theirs = [old.others[&name].mac, Mac([0x0a, 0, 0, 0, 0, 99])];
        let plan = diff(&new, &Tables::desired(&old), &BTreeMap::new());
        prop_assert!(!plan.is_empty());
        for operation in plan.operations() {
            let inside = match *operation {
                Operation::SetFdb(mac, _) | Operation::DeleteFdb(mac, _) => theirs.contains(&mac),
                Operation::SetNeighbour(gateway, _) | Operation::DeleteNeighbour(gateway) => {
                    changed.iter().any(|subnet| subnet.network() == gateway)
                }
                Operation::SetRoute(subnet, _) => changed.contains(&subnet),
                Operation::DeleteRoute(key) => changed.contains(&key.destination),
            };
            prop_assert!(inside, "{:?}", operation);
        }
    }
}
