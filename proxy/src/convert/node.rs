//! `v1 Node` → [`NodeFact`].

use std::sync::Arc;

use fairlead_proxy_model::NodeFact;

use serde_saphyr::Location;

use super::address::{address, network};
use super::form::{Form, Leaf};
use super::shapes::Node;
use super::{Converted, Fault, Remarks, Rules};

/// What a cluster autoscaler puts on a node that it is about to delete (kubernetes/autoscaler, utils/taints).
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

impl<F: Form> Node<F> {
    /// Where its name stands.
    pub fn place(&self) -> Option<Location> {
        self.metadata.name.place()
    }

    /// The fact it states.
    pub fn convert(self, rules: &mut Rules, remarks: &mut Remarks) -> Result<Converted, Fault> {
        let (name, at) = self.metadata.object_name(false, rules);
        remarks.begin(format!("Node {}", name.name), at);
        let Self { metadata, spec, status } = self;
        let mut addresses = Vec::new();
        for kind in ["InternalIP", "ExternalIP"] {
            for (index, written) in status.addresses.iter().enumerate().filter(|(_, written)| written.r#type == kind) {
                match address(written.address.get()) {
                    Ok(addr) if !addresses.contains(&addr) => addresses.push(addr),
                    Ok(_) => {}
                    Err(why) => {
                        remarks.add(written.address.place(), format!("status.addresses[{index}]: {why}; left out"))
                    }
                }
            }
        }
        let written = if spec.pod_cidrs.is_empty() { Vec::from_iter(spec.pod_cidr) } else { spec.pod_cidrs };
        let mut pod_cidrs = Vec::new();
        for (index, written) in written.iter().enumerate().filter(|(_, written)| !written.get().is_empty()) {
            match network(written.get()) {
                Ok(network) => pod_cidrs.push(network),
                Err(why) => remarks.add(written.place(), format!("spec.podCIDRs[{index}]: {why}; left out")),
            }
        }
        let zone = metadata.labels.zone.as_deref().filter(|zone| !zone.is_empty());
        Ok(Converted::Node(Arc::new(NodeFact {
            name: name.name,
            zone: zone.map(|zone| rules.names.text(zone)),
            addresses,
            pod_cidrs,
            deleting: metadata.deletion_timestamp.is_some(),
            to_be_deleted_taint: spec.taints.iter().any(|taint| taint.key == TO_BE_DELETED),
        })))
    }
}
