//! Endpoints of a Service with all kinds of them, as told by an engine and by maps.

use std::sync::Arc;

use fairlead_proxy_model::{
    Change, Endpoint, Engine, Family, Hints, ObjectName, Protocol, ServiceFact, ServicePort, Settings, SliceFact,
    SlicePort, TrafficPolicy,
};

use super::{PAGE, from_maps, of_service, page, services, table};
use crate::surface::explain::explain;

fn engine() -> Engine {
    let mut engine = Engine::new(Settings::new("a"));
    let name = ObjectName::new("shop", "cart");
    let port = ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: Some(30080) };
    let service = ServiceFact {
        cluster_ips: vec![[10, 96, 0, 1].into()],
        ports: vec![port],
        internal_policy: TrafficPolicy::Local,
        ..ServiceFact::new(name)
    };
    engine.apply(Change::PutService(Arc::new(service)));
    let endpoint = |last: u8, node: &str, ready: bool, serving: bool, terminating: bool| Endpoint {
        addr: [10, 1, 0, last].into(),
        ready,
        serving,
        terminating,
        node: Some(node.into()),
        hints: None,
    };
    let mut hinted = endpoint(2, "b", true, true, false);
    hinted.hints = Some(Arc::new(Hints { zones: vec!["z1".into()], nodes: Vec::new() }));
    let slice = SliceFact {
        name: ObjectName::new("shop", "cart-1"),
        service: "cart".into(),
        family: Family::V4,
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }],
        endpoints: vec![
            endpoint(1, "a", true, true, false),
            hinted,
            endpoint(3, "a", false, false, false),
            endpoint(4, "a", false, true, true),
            endpoint(5, "b", false, false, true),
        ],
        triggered: None,
    };
    engine.apply(Change::PutSlice(Arc::new(slice)));
    let _ = engine.recompute();
    engine
}

#[test]
fn the_daemon_knows_conditions_and_uses() {
    let rows = of_service(&engine(), &ObjectName::new("shop", "cart")).rows;
    let expected = "\
SERVICE    PORT      ENDPOINT       NODE  CONDITION    USED FOR         HINTS
shop/cart  http/TCP  10.1.0.1:8080  a     ready        all
shop/cart  http/TCP  10.1.0.2:8080  b     ready        other addresses  zone z1
shop/cart  http/TCP  10.1.0.3:8080  a     not ready    nothing
shop/cart  http/TCP  10.1.0.4:8080  a     terminating  nothing
shop/cart  http/TCP  10.1.0.5:8080  b     gone         nothing
";
    assert_eq!(table(&rows, true), expected);
    assert!(of_service(&engine(), &ObjectName::new("shop", "other")).rows.is_empty());
}

#[test]
fn all_endpoints_come_page_by_page() {
    let mut engine = engine();
    let template = engine.service(&ObjectName::new("shop", "cart")).expect("a service").clone();
    let slice = engine.slices_of(&template.name)[0].clone();
    for number in 0..PAGE / 2 {
        let name: Arc<str> = format!("s{number:04}").into();
        let service = ServiceFact { name: ObjectName::new("a", name.clone()), ..(*template).clone() };
        let slice = SliceFact { name: ObjectName::new("a", name.clone()), service: name, ..(*slice).clone() };
        engine.apply(Change::PutService(Arc::new(service)));
        engine.apply(Change::PutSlice(Arc::new(slice)));
    }
    let _ = engine.recompute();
    let (mut rows, mut pages, mut after) = (Vec::new(), 0, None);
    loop {
        let page = page(&engine, after.as_ref());
        rows.extend(page.rows);
        pages += 1;
        match page.next {
            Some(next) => after = Some(ObjectName::from(&next)),
            None => break,
        }
    }
    assert_eq!((rows.len(), pages), ((PAGE / 2 + 1) * 5, 3));
    assert!(rows.is_sorted(), "each once, in order");
}

#[test]
fn maps_know_backends() {
    let frontend = |service: Option<&str>, frontend: &str| services::Row {
        service: service.map(str::to_owned),
        port: "http".to_owned(),
        frontend: frontend.to_owned(),
        state: "serving".to_owned(),
        backends: vec!["10.1.0.1:8080".to_owned()],
        connections: 1,
    };
    let frontends = [frontend(Some("shop/cart"), "10.96.0.1:80/TCP"), frontend(None, "10.96.0.2:80/UDP")];
    let foot =
        "no proxy runs: these are the backends in the maps; who else there is, and in which condition, is not known\n";
    let expected = format!(
        "SERVICE    PORT      ENDPOINT       NODE  CONDITION  USED FOR     HINTS\n\
         (unknown)  http/UDP  10.1.0.1:8080        unknown    in the maps\n\
         shop/cart  http/TCP  10.1.0.1:8080        unknown    in the maps\n{foot}"
    );
    assert_eq!(table(&from_maps(&frontends, None), false), expected);
    assert_eq!(from_maps(&frontends, Some(&ObjectName::new("shop", "cart"))).len(), 1);
    assert_eq!(table(&[], false), format!("no endpoint is known\n{foot}"));
}

#[test]
fn an_engine_explains() {
    let engine = engine();
    let of = |to: &str| explain(&engine, None, Protocol::Tcp, to.parse().expect("a destination"));
    let told = of("10.96.0.1:80");
    assert_eq!((told.service.as_deref(), &*told.port), (Some("shop/cart"), "http"));
    assert_eq!(told.rule, ["ClusterIP: internalTrafficPolicy is Local, only endpoints on this node count"]);
    let reasons: Vec<&str> = told.endpoints.iter().map(|candidate| &*candidate.reason).collect();
    assert_eq!(
        reasons,
        [
            "",
            "not on a, and internalTrafficPolicy is Local",
            "not ready",
            "terminating, and others are ready",
            "terminating, and serves no longer"
        ]
    );
    let told = of("127.0.0.1:30080");
    assert_eq!(told.rule, ["NodePort: externalTrafficPolicy is Cluster"]);
    assert_eq!(told.endpoints.iter().filter(|candidate| candidate.used).count(), 2);
    assert_eq!(of("10.96.0.1:81").rule, ["no Service has port 81/TCP at 10.96.0.1"]);
    assert_eq!(of("127.0.0.1:30081").rule, ["no Service has the NodePort 30081/TCP"]);
    assert_eq!(of("192.0.2.1:80").rule, ["no Service and no node has the address 192.0.2.1"]);
}
