//! A pod: the namespace a runtime makes before it calls a plugin.

use std::ops::Deref;

use anyhow::Result;

use super::place::Place;
use super::{Lab, Node, make_dir};

/// A network namespace and a cgroup below the node's. A [`Place`]: run things in it directly.
#[derive(Clone, Debug)]
pub struct Pod {
    place: Place,
}

impl Pod {
    pub(super) fn new(lab: &Lab, node: &Node, name: &str) -> Result<Self> {
        let cgroup = node.cgroup_root().join(name);
        make_dir(&cgroup)?;
        let netns = lab.add_netns(name)?;
        let mount_ns = node.mount_ns.clone();
        let place =
            Place { name: name.into(), netns: Some(netns), mount_ns, cgroup: Some(cgroup), files: lab.dir.clone() };
        Ok(Self { place })
    }

    /// Removes the namespace, as a runtime does after DEL (or before, when the node died).
    pub fn remove_netns(&self, lab: &Lab) -> Result<()> {
        Place::here(&lab.dir).sh(&format!("ip netns del {}", lab.netns_name(&self.place.name)))?;
        Ok(())
    }
}

impl Deref for Pod {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}
