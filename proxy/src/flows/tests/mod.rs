//! Facts for the tests: one service with UDP and TCP at the same ports, in both families.

mod kernel;
mod plan;
mod queue;
mod sockets;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fairlead_proxy_model::{
    Change, Endpoint, Engine, Family, ObjectName, Protocol, ServiceFact, ServicePort, Settings, SliceFact, SlicePort,
};

use super::table::Shift;

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address with a port")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn name(of: &str) -> ObjectName {
    ObjectName::new("default", of)
}

/// `dns` at these addresses, port 53, TCP and UDP.
fn service(of: &str, cluster_ips: &[&str]) -> ServiceFact {
    let port = |protocol, name: &str| ServicePort { name: name.into(), protocol, port: 53, node_port: None };
    ServiceFact {
        cluster_ips: cluster_ips.iter().map(|text| ip(text)).collect(),
        ports: vec![port(Protocol::Udp, "udp"), port(Protocol::Tcp, "tcp")],
        ..ServiceFact::new(name(of))
    }
}

/// A ready endpoint.
fn ready(text: &str) -> Endpoint {
    Endpoint { addr: ip(text), ready: true, serving: true, terminating: false, node: None, hints: None }
}

/// One that answers and is on its way out.
fn leaving(text: &str) -> Endpoint {
    Endpoint { ready: false, terminating: true, ..ready(text) }
}

/// One that does not answer.
fn unready(text: &str) -> Endpoint {
    Endpoint { ready: false, serving: false, ..ready(text) }
}

/// The endpoints of one family, at one target port.
fn slice(of: &str, family: Family, target: u16, endpoints: &[Endpoint]) -> SliceFact {
    let port = |protocol, name: &str| SlicePort { name: name.into(), protocol, port: target };
    SliceFact {
        name: name(&format!("{of}-{}", family.name())),
        service: of.into(),
        family,
        ports: vec![port(Protocol::Udp, "udp"), port(Protocol::Tcp, "tcp")],
        endpoints: endpoints.to_vec(),
        triggered: None,
    }
}

fn engine() -> Engine {
    Engine::new(Settings::new("node-a"))
}

fn put_service(engine: &mut Engine, fact: ServiceFact) {
    engine.apply(Change::PutService(Arc::new(fact)));
}

fn put_slice(engine: &mut Engine, fact: SliceFact) {
    engine.apply(Change::PutSlice(Arc::new(fact)));
}

/// Recomputes, and takes up what is new.
fn follow(engine: &mut Engine, table: &mut super::Table) -> Vec<Shift> {
    let names = engine.recompute().names;
    names.iter().flat_map(|name| table.take_up(engine, name)).collect()
}
