//! What an operator reads, and what a program reads.

use serde_json::json;

use super::super::arguments::{Client, Transport};
use super::super::walk::{Probe, Walk};
use super::{Answer, Candidate, Told};
use crate::state::Owner;

fn probe(client: Client) -> Probe {
    Probe { client, protocol: Transport::Tcp, to: "10.96.0.10:53".parse().expect("a destination") }
}

fn found() -> Walk {
    Walk {
        frontend: Some("10.96.0.10:53/TCP".to_owned()),
        verdict: "backends",
        steps: vec!["a frontend of this very address and port is known".to_owned()],
        affinity_s: 0,
        backends: ["10.1.0.2:53", "10.1.0.3:53", "10.1.1.2:53"].map(|addr| addr.parse().expect("an address")).to_vec(),
    }
}

fn told() -> Told {
    let candidate = |addr: &str, node: &str, reason: &str| Candidate {
        addr: addr.parse().expect("an address"),
        node: Some(node.to_owned()),
        used: reason.is_empty(),
        reason: reason.to_owned(),
    };
    Told {
        service: Some("kube-system/kube-dns".to_owned()),
        port: "dns-tcp".to_owned(),
        rule: vec!["ClusterIP: internalTrafficPolicy is Cluster".to_owned()],
        endpoints: vec![
            candidate("10.1.0.2:53", "a", ""),
            candidate("10.1.0.3:53", "a", ""),
            candidate("10.1.0.4:53", "a", "not ready"),
            candidate("10.1.1.2:53", "b", ""),
        ],
    }
}

#[test]
fn a_connection_is_explained() {
    let (walk, told) = (found(), told());
    let client = Client::Addr("10.0.0.5".parse().expect("an address"));
    let answer = Answer { probe: probe(client), walk: Some(&walk), told: Some(&told), owner: None };
    let expected = "\
10.0.0.5 to 10.96.0.10:53/TCP
verdict   goes to one of 3 backends
service   kube-system/kube-dns, port dns-tcp
frontend  10.96.0.10:53/TCP
because   a frontend of this very address and port is known
rule      ClusterIP: internalTrafficPolicy is Cluster

BACKEND      CHANCE  NODE  WHY NOT
10.1.0.2:53  33.3 %  a
10.1.0.3:53  33.3 %  a
10.1.1.2:53  33.3 %  b
10.1.0.4:53  none    a     not ready
";
    assert_eq!(answer.text(), expected);
    let json = answer.json();
    assert_eq!(
        (&json["client"], &json["protocol"], &json["to"], &json["verdict"], &json["differs"]),
        (&json!("10.0.0.5"), &json!("tcp"), &json!("10.96.0.10:53"), &json!("backends"), &json!(false))
    );
    assert_eq!(json["backends"][2]["address"], "10.1.1.2:53");
    assert_eq!(json["daemon"]["endpoints"][2]["reason"], "not ready");
    assert_eq!(serde_json::from_value::<Told>(json["daemon"].clone()).expect("what was told"), told);
}

#[test]
fn what_nobody_knows_is_said() {
    let walk = Walk { affinity_s: 600, ..found() };
    let owner = Owner { service: "a/b".to_owned(), port: String::new() };
    let answer = Answer { probe: probe(Client::Host), walk: Some(&walk), told: None, owner: Some(owner) };
    let expected = "\
host to 10.96.0.10:53/TCP
verdict   goes to one of 3 backends
service   a/b
frontend  10.96.0.10:53/TCP
because   a frontend of this very address and port is known
affinity  a client keeps its backend for 600 s after its last connection
daemon    does not run: what is in the kernel holds, and why other endpoints are not used is not known

BACKEND      CHANCE  NODE  WHY NOT
10.1.0.2:53  33.3 %
10.1.0.3:53  33.3 %
10.1.1.2:53  33.3 %
";
    assert_eq!(answer.text(), expected);
    let nothing = Answer { probe: probe(Client::Host), walk: None, told: None, owner: None };
    assert!(nothing.text().contains("verdict   left alone: nothing is in the kernel, no Service is served\n"));
    assert_eq!(nothing.json()["client"], "host");
}

#[test]
fn maps_that_are_not_as_wanted_show() {
    let mut walk = found();
    walk.backends.pop();
    let told = told();
    let answer = Answer { probe: probe(Client::Host), walk: Some(&walk), told: Some(&told), owner: None };
    assert!(answer.differs());
    assert!(answer.text().contains("10.1.1.2:53  none    b     not in the maps yet\n"), "{}", answer.text());
    let dropped = Walk { verdict: "dropped", backends: Vec::new(), ..found() };
    let answer = Answer { probe: probe(Client::Host), walk: Some(&dropped), told: Some(&told), owner: None };
    assert!(!answer.differs(), "a client that is not admitted says nothing about the set");
}
