//! `v1 Service` → [`ServiceFact`].

use std::collections::HashSet;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;

use fairlead_proxy_model::{Family, ServiceFact, ServicePort, TrafficPolicy};
use serde::de::DeserializeOwned;

use serde_saphyr::Location;

use super::address::{address, network, special};
use super::form::{Form, Leaf};
use super::shapes::{AffinityConfig, Port, Service};
use super::{Converted, Fault, Remarks, Rules, number, protocol};
use crate::rfc3339;

/// What the API server fills in (pkg/apis/core/v1/defaults.go); three hours.
const AFFINITY_SECONDS: u32 = 10_800;
/// One day (pkg/apis/core/validation).
const AFFINITY_LIMIT: u32 = 86_400;
/// What becomes of a value that cannot be meant.
const LEFT_OUT: &str = "; left out";

impl<F: Form> Service<F> {
    /// Where its name stands.
    pub fn place(&self) -> Option<Location> {
        self.metadata.name.place()
    }

    /// The fact it states.
    pub fn convert(self, rules: &mut Rules, remarks: &mut Remarks) -> Result<Converted, Fault> {
        let (name, at) = self.metadata.object_name(true, rules);
        let title = format!("Service {name}");
        let ignored = |why: &str| Ok(Converted::Ignored(format!("{title}: {why}")));
        let Self { metadata, spec, status } = self;
        if metadata.labels.proxy_name != rules.proxy_name {
            let other = metadata.labels.proxy_name.as_deref().unwrap_or("that comes with the cluster");
            return ignored(&format!("left to the service proxy {other}"));
        }
        let kind = spec.r#type.as_deref().unwrap_or("ClusterIP");
        if kind == "ExternalName" {
            return ignored("ExternalName, an alias in DNS only");
        }
        let mut written = if spec.cluster_ips.is_empty() { Vec::from_iter(spec.cluster_ip) } else { spec.cluster_ips };
        if written.iter().any(|addr| addr.get() == "None") {
            return ignored("headless, clients use the endpoints' own addresses");
        }
        written.retain(|addr| !addr.get().is_empty());
        if written.is_empty() && F::ADMITTED {
            return ignored("it has no cluster IP yet");
        }
        remarks.begin(title.clone(), at);
        let mut cluster_ips: Vec<IpAddr> = Vec::new();
        for written in &written {
            let Some(addr) = usable(written, "spec.clusterIPs", remarks) else { continue };
            if cluster_ips.iter().any(|known| Family::of(*known) == Family::of(addr)) {
                let text = format!("spec.clusterIPs: {addr} is the second of its family{LEFT_OUT}");
                remarks.add(written.place(), text);
            } else {
                cluster_ips.push(addr);
            }
        }
        if cluster_ips.is_empty() {
            let text = match written.first() {
                None => {
                    "spec.clusterIP: missing; nobody assigns one to a Service in a file, write the address".to_owned()
                }
                // Of what was left out above the last is the reason.
                Some(_) => remarks.take_last().unwrap_or_default().trim_end_matches(LEFT_OUT).to_owned(),
            };
            let at = written.first().and_then(Leaf::place).or(at);
            return Err(Fault { at, text: format!("{title}: {text}") });
        }

        let external_ips = addresses(&spec.external_ips, "spec.externalIPs", remarks);
        let ingress = status.load_balancer.ingress.into_iter();
        // A load balancer of mode Proxy must see the connections of the cluster's own clients as well.
        let ingress = ingress.filter(|ingress| ingress.ip_mode.as_deref().is_none_or(|mode| mode == "VIP"));
        let ingress: Vec<_> = ingress.filter_map(|ingress| ingress.ip).filter(|ip| !ip.get().is_empty()).collect();
        let mut load_balancer_ips = addresses(&ingress, "status.loadBalancer.ingress", remarks);
        let mut source_ranges = Vec::new();
        for (index, written) in spec.load_balancer_source_ranges.iter().enumerate() {
            match network(written.get()) {
                Ok(network) => source_ranges.push(network),
                Err(why) => {
                    let text = format!("spec.loadBalancerSourceRanges[{index}]: {why}; nobody is admitted by it");
                    remarks.add(written.place(), text);
                }
            }
        }
        if let Some(written) = spec.load_balancer_source_ranges.first()
            && source_ranges.is_empty()
            && !load_balancer_ips.is_empty()
        {
            // Without a range everybody would be admitted, which is the last thing that was meant.
            load_balancer_ips.clear();
            let text = "spec.loadBalancerSourceRanges: none can be read; not served at its load balancer's addresses";
            remarks.add(written.place(), text.to_owned());
        }

        let node_ports = matches!(kind, "NodePort" | "LoadBalancer");
        let ports = ports(spec.ports, node_ports, rules, remarks);
        let internal_policy = policy(spec.internal_traffic_policy, "spec.internalTrafficPolicy", remarks);
        let external_policy = policy(spec.external_traffic_policy, "spec.externalTrafficPolicy", remarks);
        let affinity = match spec.session_affinity.as_ref().map(|kind| (kind.get().as_str(), kind.place())) {
            Some(("ClientIP", _)) => Some(affinity_seconds(spec.session_affinity_config, remarks)),
            None | Some(("None" | "", _)) => None,
            Some((other, at)) => {
                let text = format!("spec.sessionAffinity: {other:?} is neither None nor ClientIP; taken for None");
                remarks.add(at, text);
                None
            }
        };
        // The API server leaves the number in place when the service stops being of this kind.
        let asked = kind == "LoadBalancer" && external_policy == TrafficPolicy::Local;
        let health_check = spec.health_check_node_port.filter(|port| asked && *port.get() != 0);
        let health_check_node_port = health_check.and_then(|port| number(&port, "spec.healthCheckNodePort", remarks));
        let created = metadata.creation_timestamp.and_then(|text| {
            let seconds = rfc3339::seconds(text.get());
            if seconds.is_none() {
                let why = format!("metadata.creationTimestamp: {:?} is no RFC 3339 time; left out", text.get());
                remarks.add(text.place(), why);
            }
            seconds
        });
        Ok(Converted::Service(Arc::new(ServiceFact {
            name,
            uid: metadata.uid.unwrap_or_default(),
            created,
            cluster_ips,
            external_ips,
            load_balancer_ips,
            source_ranges,
            ports,
            internal_policy,
            external_policy,
            affinity,
            health_check_node_port,
        })))
    }
}

/// An address that can be served; else a remark.
fn usable<L: Leaf<String>>(written: &L, field: &str, remarks: &mut Remarks) -> Option<IpAddr> {
    let why = match address(written.get()) {
        Ok(addr) => match special(addr) {
            None => return Some(addr),
            Some(kind) => format!("{addr} is {kind}, no service can be there"),
        },
        Err(why) => why,
    };
    remarks.add(written.place(), format!("{field}: {why}{LEFT_OUT}"));
    None
}

fn addresses<L: Leaf<String>>(written: &[L], field: &str, remarks: &mut Remarks) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::with_capacity(written.len());
    for (index, written) in written.iter().enumerate() {
        let usable = usable(written, &format!("{field}[{index}]"), remarks);
        addresses.extend(usable.filter(|addr| !addresses.contains(addr)));
    }
    addresses
}

fn ports<F: Form>(
    written: Vec<Port<F>>,
    node_ports: bool,
    rules: &mut Rules,
    remarks: &mut Remarks,
) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::with_capacity(written.len());
    let mut known = HashSet::new();
    for (index, written) in written.into_iter().enumerate() {
        let field = format!("spec.ports[{index}]");
        let Some(protocol) = protocol(written.protocol.as_ref(), &field, remarks) else { continue };
        let Some(port) = &written.port else {
            remarks.add(None, format!("{field}.port: missing; left out"));
            continue;
        };
        let Some(number_of_port) = number(port, &format!("{field}.port"), remarks) else { continue };
        let name = rules.names.text(written.name.as_deref().unwrap_or_default());
        if ports.iter().any(|known| known.name == name) {
            remarks.add(port.place(), format!("{field}: the name {name:?} is used twice; left out"));
            continue;
        }
        if !known.insert((number_of_port, protocol)) {
            let text = format!("{field}: {number_of_port}/{} twice; left out", protocol.name());
            remarks.add(port.place(), text);
            continue;
        }
        let node_port = match written.node_port.filter(|port| *port.get() != 0) {
            Some(port) if !node_ports => {
                let text = format!("{field}.nodePort: {} of a Service without NodePorts; left out", port.get());
                remarks.add(port.place(), text);
                None
            }
            Some(port) => number(&port, &format!("{field}.nodePort"), remarks),
            None => None,
        };
        ports.push(ServicePort { name, protocol, port: number_of_port, node_port });
    }
    ports
}

fn policy<L: Leaf<String>>(written: Option<L>, field: &str, remarks: &mut Remarks) -> TrafficPolicy {
    match written.as_ref().map(|written| (written.get().as_str(), written.place())) {
        Some(("Local", _)) => TrafficPolicy::Local,
        None | Some(("Cluster" | "", _)) => TrafficPolicy::Cluster,
        Some((other, at)) => {
            remarks.add(at, format!("{field}: {other:?} is neither Cluster nor Local; taken for Cluster"));
            TrafficPolicy::Cluster
        }
    }
}

fn affinity_seconds<F: Form>(config: Option<AffinityConfig<F>>, remarks: &mut Remarks) -> u32
where
    F::Leaf<i64>: DeserializeOwned + Debug,
{
    let timeout = config.and_then(|config| config.client_ip).and_then(|config| config.timeout_seconds);
    let Some(timeout) = timeout else { return AFFINITY_SECONDS };
    let seconds = *timeout.get();
    match u32::try_from(seconds) {
        Ok(seconds @ 1..=AFFINITY_LIMIT) => seconds,
        _ => {
            let nearest = if seconds < 1 { 1 } else { AFFINITY_LIMIT };
            let text = format!(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: {seconds} is not between 1 and {AFFINITY_LIMIT}; \
                 taken for {nearest}"
            );
            remarks.add(timeout.place(), text);
            nearest
        }
    }
}
