//! When runs are begun, and what becomes of what is due meanwhile.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use fairlead_proxy_model::{Change, Engine, Family, Protocol, frontend_key};
use tokio::time::{advance, timeout};

use super::super::plan::Order;
use super::super::table::Front;
use super::super::{Clean, Cleaned, Flows};
use super::{addr, engine, ip, name, put_service, put_slice, ready, service, slice};

/// Tells what is ordered, and does what it is told.
struct Told {
    orders: Sender<Order>,
    answers: Receiver<Cleaned>,
}

impl Clean for Told {
    fn clean(&mut self, order: &Order) -> Cleaned {
        self.orders.send(order.clone()).expect("the test listens");
        self.answers.recv().expect("the test answers")
    }
}

struct Stage {
    flows: Flows,
    engine: Engine,
    orders: Receiver<Order>,
    answers: Sender<Cleaned>,
}

impl Stage {
    /// `dns` at 10.96.0.10 with one endpoint; nothing is due any more. Of another start, 10.96.0.99 is in the maps.
    fn new() -> Self {
        let ((orders, ordered), (answers, answered)) = (mpsc::channel(), mpsc::channel());
        let inherited = [("10.96.0.99", Protocol::Udp), ("10.96.0.98", Protocol::Tcp), ("10.96.0.10", Protocol::Udp)];
        let inherited = inherited.map(|(address, protocol)| frontend_key(ip(address), 53, protocol));
        let mut stage = Self {
            flows: Flows::new(Box::new(Told { orders, answers: answered }), inherited),
            engine: engine(),
            orders: ordered,
            answers,
        };
        put_service(&mut stage.engine, service("dns", &["10.96.0.10"]));
        stage.endpoint("10.1.0.1");
        stage
    }

    fn endpoint(&mut self, address: &str) {
        put_slice(&mut self.engine, slice("dns", Family::V4, 5353, &[ready(address)]));
        self.follow();
    }

    fn follow(&mut self) {
        let names = self.engine.recompute().names;
        self.flows.touched(&self.engine, &names);
    }

    async fn finish(&mut self, cleaned: Cleaned) -> Order {
        self.answers.send(cleaned.clone()).expect("the cleaner listens");
        assert_eq!(self.flows.finished().await, cleaned);
        self.orders.try_recv().expect("an order")
    }

    /// Whether nothing is begun, however long one waits.
    async fn rests(&mut self) -> bool {
        timeout(Duration::from_secs(3600), self.flows.finished()).await.is_err() && self.orders.try_recv().is_err()
    }

    async fn reviewed() -> Self {
        let mut stage = Self::new();
        stage.flows.review(true);
        stage.flows.start();
        stage.finish(Cleaned::default()).await;
        stage
    }
}

fn failed() -> Cleaned {
    Cleaned { failed: vec!["no".to_owned()], ..Cleaned::default() }
}

#[tokio::test(start_paused = true)]
async fn the_first_review_looks_at_everything_and_at_what_the_maps_still_had() {
    let mut stage = Stage::new();
    stage.flows.review(true);
    assert!(stage.rests().await, "not before the maps are up to date");
    stage.flows.start();
    let order = stage.finish(Cleaned::default()).await;
    assert!(order.sockets && order.unknown_is_gone);
    let fronts: Vec<(Front, bool)> = order.fronts.iter().map(|(front, serving)| (*front, serving.is_some())).collect();
    assert_eq!(fronts, [(Front::At(addr("10.96.0.10:53")), true), (Front::At(addr("10.96.0.99:53")), false)]);
    stage.flows.start();
    assert!(stage.rests().await, "nothing is due");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_known_is_kept_for_the_first_complete_review() {
    let mut stage = Stage::new();
    for complete in [false, true] {
        stage.flows.review(complete);
        stage.flows.start();
        let order = stage.finish(Cleaned::default()).await;
        assert_eq!(order.unknown_is_gone, complete);
        assert_eq!(order.fronts.contains_key(&Front::At(addr("10.96.0.99:53"))), complete);
    }
}

/// The endpoints of `dns` as the order knows them.
fn serving(order: &Order) -> Vec<String> {
    let serving = order.fronts[&Front::At(addr("10.96.0.10:53"))].iter().flat_map(|serving| serving.iter());
    serving.map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn changes_during_a_run_and_the_pause_after_it_become_one_order() {
    let mut stage = Stage::reviewed().await;
    advance(Duration::from_secs(60)).await;
    for address in ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5"] {
        stage.endpoint(address);
        stage.flows.start();
    }
    assert_eq!(serving(&stage.finish(Cleaned::default()).await), ["10.1.0.2:5353"], "begun with the first");
    stage.endpoint("10.1.0.6");
    stage.flows.start();
    assert_eq!(serving(&stage.finish(Cleaned::default()).await), ["10.1.0.6:5353"], "one order for the rest");
    assert!(stage.rests().await);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_in_the_maps_yet_waits_and_what_failed_is_done_again() {
    let mut stage = Stage::reviewed().await;
    stage.endpoint("10.1.0.2");
    assert!(stage.rests().await);
    stage.flows.start();
    let first = stage.finish(failed()).await;
    stage.answers.send(Cleaned { sockets: 1, ..Cleaned::default() }).expect("the cleaner listens");
    assert_eq!(stage.flows.finished().await.sockets, 1, "again by itself, after a pause");
    assert_eq!(stage.orders.try_recv().expect("an order"), first);
    assert!(stage.rests().await);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_comes_back_before_its_turn_is_not_gone() {
    let mut stage = Stage::reviewed().await;
    stage.engine.apply(Change::DeleteService(name("dns")));
    stage.follow();
    put_service(&mut stage.engine, service("dns", &["10.96.0.10"]));
    stage.follow();
    stage.flows.start();
    let order = stage.finish(Cleaned::default()).await;
    assert!(!order.is_stale_socket(addr("10.96.0.10:53"), addr("10.1.0.1:5353")));
    assert!(!order.is_stale_flow(addr("10.96.0.10:53"), addr("10.1.0.1:5353"), &[].into()));
}

#[tokio::test(start_paused = true)]
async fn waiting_may_be_given_up_and_taken_up_again() {
    let mut stage = Stage::reviewed().await;
    stage.endpoint("10.1.0.2");
    stage.flows.start();
    for _ in 0..3 {
        let waited = timeout(Duration::ZERO, stage.flows.finished()).await;
        assert!(waited.is_err(), "the cleaner has not been answered");
    }
    stage.finish(Cleaned { sockets: 2, ..Cleaned::default() }).await;
}
