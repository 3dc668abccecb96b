//! Connections while everything around them is rewritten as fast as it goes.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fairlead_ebpf_shared::{AddressClass, IPPROTO_UDP, Options, OptionsWord, Reason};
use zerocopy::IntoBytes;

use crate::hooks::{Hooks, Vip, bytes};

/// Connects of the test; at some 100,000 a second, seconds under an emulated CPU.
const CONNECTS: u32 = 40_000;

/// What the services of the storm point to: never the service that is looked at.
const FOREIGN: [u8; 4] = [127, 9, 9, 9];

fn set(network: u8) -> Vec<SocketAddr> {
    (1..=8).map(|host| SocketAddr::from(([127, network, 0, host], 7000))).collect()
}

/// What the service that is looked at becomes again and again: sticky, dropping when it is empty (which it never is), for
/// this node's endpoints (which matters at other nodes only), and back.
const TREATMENTS: [Options; 4] = [
    Options { affinity_s: 0, group: 0, flags: 0 },
    Options { affinity_s: 60, group: 0, flags: 0 },
    Options { affinity_s: 0, group: 0, flags: OptionsWord::FLAG_DROP },
    Options { affinity_s: 10_800, group: 3, flags: OptionsWord::FLAG_LOCAL_ONLY },
];

#[test]
fn no_connection_meets_a_foreign_backend_while_a_thousand_services_are_rewritten() {
    let hooks = Hooks::attach();
    // A cluster IP and a NodePort.
    let vips = [Vip::new("10.96.0.1:53", IPPROTO_UDP, 0), Vip::new("0.0.0.0:30053", IPPROTO_UDP, 1)];
    let asked = [vips[0].address, SocketAddr::from(([10, 0, 0, 5], 30_053))];
    hooks.know("10.0.0.5", AddressClass::OwnNode);
    for vip in &vips {
        hooks.serve(vip, 16 * vip.slot, &set(1));
    }
    let others: Vec<Vip> = (2..=1001_u32)
        .map(|number| Vip::new(&format!("10.97.{}.{}:53", number >> 8, number & 0xff), IPPROTO_UDP, number))
        .collect();
    let foreign = [SocketAddr::from((FOREIGN, 7000))];

    let over = AtomicBool::new(false);
    let (mut rounds, mut misled) = (0_u64, Vec::new());
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // Deleted and written anew: the elements of the hash maps go from hand to hand.
                for (index, other) in (100..).zip(&others) {
                    hooks.frontends().delete(other.key().as_bytes()).expect("delete");
                    hooks.addresses().delete(&bytes(other.address.ip())).expect("delete");
                    hooks.serve(other, index, &foreign);
                    hooks.know(&other.address.ip().to_string(), AddressClass::ClusterIp);
                    let network = if index % 2 == 0 { 1 } else { 2 };
                    for vip in &vips {
                        hooks.switch(vip, 16 * vip.slot + 8 * (u32::from(network) - 1), &set(network));
                        hooks.treat(vip, TREATMENTS[index as usize % TREATMENTS.len()]);
                    }
                }
                rounds += 1;
            }
        });
        for number in 0..CONNECTS {
            let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            match client.connect(asked[number as usize % asked.len()]) {
                Ok(()) => {
                    let backend = hooks.origin(&client).map(|origin| origin.backend);
                    if !backend.is_some_and(|ip| ip[12] == 127 && matches!(ip[13], 1 | 2)) {
                        misled.push(format!("{number}: sent to {backend:?}"));
                    }
                }
                Err(error) => misled.push(format!("{number}: {error}")),
            }
        }
        over.store(true, Ordering::Relaxed);
        writer.join().expect("the writer ends");
    });
    let (again, kept) = (hooks.count(Reason::Recycled), hooks.count(Reason::AffinityKept));
    println!("{CONNECTS} connects during {rounds} rounds, {again} looked again, {kept} kept");
    assert!(rounds > 0, "the storm blew");
    assert_eq!(misled, Vec::<String>::new());
    assert_eq!(hooks.count(Reason::Translated), u64::from(CONNECTS));
    assert!(kept > 0, "some were sticky");
}
