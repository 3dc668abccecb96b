//! Connections while everything around them is rewritten as fast as it goes.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fairlead_ebpf_shared::{IPPROTO_UDP, Reason};
use zerocopy::IntoBytes;

use crate::hooks::{Hooks, Vip};

/// Connects of the test; at some 100,000 a second, seconds under an emulated CPU.
const CONNECTS: u32 = 40_000;

/// What the services of the storm point to: never the service that is looked at.
const FOREIGN: [u8; 4] = [127, 9, 9, 9];

fn set(network: u8) -> Vec<SocketAddr> {
    (1..=8).map(|host| SocketAddr::from(([127, network, 0, host], 7000))).collect()
}

#[test]
fn no_connection_meets_a_foreign_backend_while_a_thousand_services_are_rewritten() {
    let hooks = Hooks::attach();
    let vip = Vip::new("10.96.0.1:53", IPPROTO_UDP, 0);
    hooks.serve(&vip, 0, &set(1));
    let others: Vec<Vip> = (1..=1000_u32)
        .map(|number| Vip::new(&format!("10.97.{}.{}:53", number >> 8, number & 0xff), IPPROTO_UDP, number))
        .collect();
    let foreign = [SocketAddr::from((FOREIGN, 7000))];

    let over = AtomicBool::new(false);
    let (mut rounds, mut misled) = (0_u64, Vec::new());
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // Deleted and written anew: the elements of the hash map go from hand to hand.
                for (index, other) in (100..).zip(&others) {
                    hooks.frontends.delete(other.key().as_bytes()).expect("delete");
                    hooks.serve(other, index, &foreign);
                    let network = if index % 2 == 0 { 1 } else { 2 };
                    hooks.switch(&vip, 8 * (u32::from(network) - 1), &set(network));
                }
                rounds += 1;
            }
        });
        for _ in 0..CONNECTS {
            let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            match client.connect(vip.address) {
                Ok(()) => {
                    let backend = hooks.origin(&client).expect("the socket remembers").backend;
                    if !(backend[12] == 127 && matches!(backend[13], 1 | 2)) {
                        misled.push(format!("sent to {backend:?}"));
                    }
                }
                Err(error) => misled.push(error.to_string()),
            }
        }
        over.store(true, Ordering::Relaxed);
        writer.join().expect("the writer ends");
    });
    println!("{CONNECTS} connects during {rounds} rounds, {} looked again", hooks.count(Reason::Recycled));
    assert!(rounds > 0, "the storm blew");
    assert_eq!(misled, Vec::<String>::new());
    assert_eq!(hooks.count(Reason::Translated), u64::from(CONNECTS));
}
