//! Random streams against a server that is a map: what the ledger gave out is what the server holds, after every stream that
//! was complete and not before.

use std::collections::BTreeMap;
use std::sync::Arc;

use fairlead_proxy_model::NodeFact;
use proptest::prelude::*;

use super::*;

fn node(name: u8, version: u64) -> Object {
    let fact = NodeFact {
        name: Arc::from(name.to_string()),
        zone: Some(Arc::from(version.to_string())),
        addresses: Vec::new(),
        pod_cidrs: Vec::new(),
        deleting: false,
        to_be_deleted_taint: false,
    };
    let converted = Ok(Converted::Node(Arc::new(fact)));
    Object { name: object_name(name), version: Some(version), converted, remarks: Vec::new() }
}

fn object_name(name: u8) -> ObjectName {
    ObjectName::new("", name.to_string())
}

/// What whoever follows the changes holds: zone by name.
#[derive(Debug, Default)]
struct Follower(BTreeMap<String, String>);

impl Follower {
    fn follow(&mut self, changes: &mut Vec<Change>) {
        for change in changes.drain(..) {
            match change {
                Change::PutNode(fact) => {
                    let zone = fact.zone.as_deref().unwrap_or_default().to_owned();
                    let old = self.0.insert(fact.name.to_string(), zone.clone());
                    assert_ne!(old, Some(zone), "a change that changes nothing");
                }
                Change::DeleteNode(name) => {
                    assert!(self.0.remove(&*name).is_some(), "{name} was not there");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// What the server does.
#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Delete(u8),
    /// The watch breaks, and goes on where it was.
    Resume,
    /// It breaks for good: a new list, of which so many objects come before it breaks too; then one that is complete.
    Relist(usize),
    /// The last event comes once more.
    Repeat,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..8_u8).prop_map(Step::Put),
        2 => (0..8_u8).prop_map(Step::Delete),
        1 => Just(Step::Resume),
        1 => (0..8_usize).prop_map(Step::Relist),
        1 => Just(Step::Repeat),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn what_was_given_out_is_what_the_server_holds(steps in steps()) {
        let mut server: BTreeMap<u8, u64> = BTreeMap::new();
        let mut version = 100;
        let mut ledger = Ledger::new(Collection::Nodes);
        let mut follower = Follower::default();
        let mut changes = Vec::new();
        ledger.begin();
        ledger.complete(Some(version), &mut changes);
        let mut last: Option<u8> = None;
        for step in steps {
            match step {
                Step::Put(name) => {
                    version += 1;
                    server.insert(name, version);
                    ledger.put(node(name, version), &mut changes).expect("in order");
                    last = Some(name);
                }
                Step::Delete(name) => {
                    version += 1;
                    server.remove(&name);
                    ledger.delete(object_name(name), Some(version), &mut changes).expect("in order");
                    last = None;
                }
                Step::Resume => {}
                Step::Repeat => {
                    if let Some(name) = last {
                        let version = server[&name];
                        ledger.put(node(name, version), &mut changes).expect("the same once more");
                    }
                }
                Step::Relist(count) => {
                    // Deletions that nobody saw.
                    version += 1;
                    let gone: Vec<u8> = server.keys().copied().filter(|name| name % 3 == 0).collect();
                    let before = server.clone();
                    server.retain(|name, _| !gone.contains(name));
                    ledger.begin();
                    for (name, version) in server.iter().take(count) {
                        ledger.put(node(*name, *version), &mut changes).expect("a list has no order");
                    }
                    follower.follow(&mut changes);
                    let names: Vec<String> = before.keys().map(u8::to_string).collect();
                    prop_assert_eq!(follower.0.keys().cloned().collect::<Vec<_>>(), names, "a partial list took away");
                    ledger.begin();
                    for (name, version) in &server {
                        ledger.put(node(*name, *version), &mut changes).expect("a list has no order");
                    }
                    ledger.complete(Some(version), &mut changes);
                    last = None;
                }
            }
            follower.follow(&mut changes);
            let expected: BTreeMap<String, String> =
                server.iter().map(|(name, version)| (name.to_string(), version.to_string())).collect();
            prop_assert_eq!(&follower.0, &expected);
            prop_assert_eq!(ledger.len(), server.len());
        }
    }
}

#[test]
fn a_version_that_goes_back_is_doubted() {
    let mut ledger = Ledger::new(Collection::Nodes);
    let mut changes = Vec::new();
    ledger.begin();
    ledger.put(node(1, 90), &mut changes).unwrap();
    ledger.put(node(2, 50), &mut changes).unwrap();
    ledger.complete(Some(100), &mut changes);
    assert_eq!(ledger.put(node(1, 90), &mut changes), Ok(()), "the same once more");
    assert_eq!(ledger.put(node(1, 91), &mut changes), Err(Doubt));
    assert_eq!(ledger.put(node(3, 99), &mut changes), Err(Doubt));
    assert_eq!(ledger.delete(object_name(2), Some(99), &mut changes), Err(Doubt));
    assert_eq!(ledger.advance(Some(99)), Err(Doubt), "a bookmark");
    assert_eq!(ledger.advance(Some(100)), Ok(()));
    // After a restore all versions are lower, and the list is right all the same.
    changes.clear();
    ledger.begin();
    ledger.put(node(2, 40), &mut changes).unwrap();
    ledger.complete(Some(60), &mut changes);
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!(ledger.put(node(4, 61), &mut changes), Ok(()));
}

#[test]
fn an_object_that_cannot_be_used_keeps_its_last_good_state_and_one_that_is_ignored_goes() {
    let mut ledger = Ledger::new(Collection::Nodes);
    let mut changes = Vec::new();
    ledger.begin();
    ledger.put(node(1, 1), &mut changes).unwrap();
    ledger.complete(Some(10), &mut changes);
    changes.clear();
    let bad = |version| {
        let fault = Fault { at: None, text: "Node 1: odd".to_owned() };
        Object { converted: Err(fault), ..node(1, version) }
    };
    ledger.put(bad(11), &mut changes).unwrap();
    assert!(changes.is_empty());
    let told = ledger.take_told();
    assert_eq!(told, [(object_name(1), vec![Told::Fault("Node 1: odd. It keeps its last good state".to_owned())])]);
    let ignored = Object { converted: Ok(Converted::Ignored(String::new())), ..node(1, 12) };
    ledger.put(ignored, &mut changes).unwrap();
    assert_eq!(changes, [Change::DeleteNode("1".into())]);
    assert_eq!(ledger.take_told(), [(object_name(1), Vec::new())]);
    ledger.put(bad(13), &mut changes).unwrap();
    assert_eq!(ledger.take_told().pop().unwrap().1, [Told::Fault("Node 1: odd. It is not served".to_owned())]);
    assert_eq!(changes.len(), 1);
}
