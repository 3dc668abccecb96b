//! `discovery.k8s.io/v1 EndpointSlice` → [`SliceFact`].

use std::sync::Arc;

use fairlead_proxy_model::{Endpoint, Family, Hints, SliceFact, SlicePort};

use serde_saphyr::Location;

use super::address::{address, special};
use super::form::{Form, Leaf};
use super::shapes::{Conditions, EndpointHints, Port, Slice, SliceEndpoint};
use super::{Converted, Fault, Remarks, Rules, number, protocol};
use crate::rfc3339;

impl<F: Form> Slice<F> {
    /// Where its name stands.
    pub fn place(&self) -> Option<Location> {
        self.metadata.name.place()
    }

    /// The fact it states.
    pub fn convert(self, rules: &mut Rules, remarks: &mut Remarks) -> Result<Converted, Fault> {
        let (name, at) = self.metadata.object_name(true, rules);
        let title = format!("EndpointSlice {name}");
        let labels = &self.metadata.labels;
        if labels.headless.is_some() {
            return Ok(Converted::Ignored(format!("{title}: of a headless Service")));
        }
        remarks.begin(title.clone(), at);
        let Some(service) = labels.service_name.as_deref().filter(|service| !service.is_empty()) else {
            let text = "ignored, it has no label kubernetes.io/service-name";
            remarks.add(at, text.to_owned());
            return Ok(Converted::Ignored(format!("{title}: {text}")));
        };
        let service = rules.names.text(service);
        let family = match self.address_type.get().as_str() {
            "IPv4" => Family::V4,
            "IPv6" => Family::V6,
            "FQDN" => return Ok(Converted::Ignored(format!("{title}: addresses are names"))),
            other => {
                let text = format!("{title}: addressType: {other:?} is none of IPv4, IPv6 and FQDN");
                return Err(Fault { at: self.address_type.place(), text });
            }
        };
        let ports = ports(&self.ports, rules, remarks);
        let mut endpoints = Vec::with_capacity(self.endpoints.len());
        let mut bad = Bad::default();
        for (index, endpoint) in self.endpoints.into_iter().enumerate() {
            match convert(&endpoint, family, rules) {
                Ok(endpoint) => endpoints.extend(endpoint),
                Err(why) => bad.add(|| (index, endpoint.addresses.first().and_then(Leaf::place), why)),
            }
        }
        bad.tell(remarks);
        let triggered = self.metadata.annotations.triggered.as_deref().and_then(rfc3339::nanoseconds);
        Ok(Converted::Slice(Arc::new(SliceFact { name, service, family, ports, endpoints, triggered })))
    }
}

/// `None`: it has no address.
fn convert<F: Form>(written: &SliceEndpoint<F>, family: Family, rules: &mut Rules) -> Result<Option<Endpoint>, String> {
    // All addresses of an endpoint are the same pod's; only the first is used, as the API says.
    let Some(first) = written.addresses.first() else { return Ok(None) };
    let addr = address(first.get())?;
    if Family::of(addr) != family {
        return Err(format!("{addr} is not of addressType {}", family.name()));
    }
    if let Some(kind) = special(addr) {
        return Err(format!("{addr} is {kind}, no endpoint can be there"));
    }
    let Conditions { ready, serving, terminating } = written.conditions;
    let names = &mut rules.names;
    let node = written.node_name.as_deref().filter(|node| !node.is_empty()).map(|node| names.text(node));
    let hints = written.hints.as_ref().and_then(|EndpointHints { for_zones, for_nodes }| {
        let zones = for_zones.iter().map(|zone| names.text(&zone.name)).collect();
        let nodes = for_nodes.iter().map(|node| names.text(&node.name)).collect();
        names.hints(Hints { zones, nodes })
    });
    Ok(Some(Endpoint {
        addr,
        ready: ready.unwrap_or(true),
        serving: serving.unwrap_or(true),
        terminating: terminating.unwrap_or(false),
        node,
        hints,
    }))
}

fn ports<F: Form>(written: &[Port<F>], rules: &mut Rules, remarks: &mut Remarks) -> Vec<SlicePort> {
    let mut ports = Vec::with_capacity(written.len());
    for (index, written) in written.iter().enumerate() {
        let field = format!("ports[{index}]");
        let Some(protocol) = protocol(written.protocol.as_ref(), &field, remarks) else { continue };
        let Some(port) = &written.port else {
            // In a slice this means "all ports", which no proxy serves.
            remarks.add(None, format!("{field}.port: missing; left out"));
            continue;
        };
        let Some(port) = number(port, &format!("{field}.port"), remarks) else { continue };
        let name = rules.names.text(written.name.as_deref().unwrap_or_default());
        ports.push(SlicePort { name, protocol, port });
    }
    ports
}

/// Endpoints of a slice that are left out: the first is told, the others are counted.
#[derive(Default)]
struct Bad {
    first: Option<(usize, Option<Location>, String)>,
    more: usize,
}

impl Bad {
    fn add(&mut self, endpoint: impl FnOnce() -> (usize, Option<Location>, String)) {
        if self.first.is_some() {
            self.more += 1;
        } else {
            self.first = Some(endpoint());
        }
    }

    fn tell(self, remarks: &mut Remarks) {
        let Some((index, at, why)) = self.first else { return };
        let more = match self.more {
            0 => String::new(),
            more => format!(", and so are {more} more of this slice"),
        };
        remarks.add(at, format!("endpoints[{index}].addresses: {why}; left out{more}"));
    }
}
