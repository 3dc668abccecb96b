//! Admission: what pods send and what is answered to them passes the node, whatever else is forbidden there; and bridges that
//! are shut to each other.
//!
//! The node's rules about forwarding are others': `iptables -P FORWARD DROP` is what docker says, and a packet that one base
//! chain drops is gone, however many others accept it. So the acceptance has to stand in the very chain that would drop,
//! `ip|ip6 filter FORWARD`, in a form that `iptables` lists, saves and restores truthfully. That form has no sets, and two
//! rules for each pod, as the reference writes them, cost every packet a walk along all pods. Hence a mark:
//!
//! ```text
//! table inet fairlead_firewall {
//!     map pods4 { type ipv4_addr : verdict; elements = { 10.1.0.2 comment "…" : goto admitted, … } }
//!     map pods6 { type ipv6_addr : verdict; … }
//!     set bridges { type ifname; elements = { "cni0", … } }
//!     map within { type ifname . ifname : verdict; elements = { "cni0" . "cni0" : accept, … } }
//!     map members { type ifname . ipv6_addr : verdict; elements = { "cni0" . ::ffff:10.1.0.2 comment "…" : accept, … } }
//!     chain isolation {
//!         type filter hook forward priority filter - 2; policy accept;
//!         iifname . oifname vmap @within
//!         iifname @bridges oifname @bridges drop
//!     }
//!     chain before {
//!         type filter hook forward priority filter - 1; policy accept;
//!         ip saddr vmap @pods4
//!         ct state established,related ip daddr vmap @pods4
//!         … the same for pods6
//!     }
//!     chain admitted { meta mark & 0xff000000 == 0 meta mark set meta mark | 0xfa000000 }
//!     chain after {
//!         type filter hook forward priority filter + 1; policy accept;
//!         meta mark & 0xff000000 == 0xfa000000 meta mark set meta mark & 0x00ffffff
//!     }
//! }
//! table ip|ip6 filter {
//!     chain FORWARD { type filter hook forward priority filter; …; jump CNI-FORWARD, as the first when it is made; … }
//!     chain CNI-FORWARD { jump CNI-ADMIN; meta mark & 0xff000000 == 0xfa000000 accept }
//!     chain CNI-ADMIN { the administrator's own rules: what he drops or accepts here is decided }
//! }
//! table bridge fairlead_firewall {
//!     set ports { type ifname; elements = { "veth1" comment "…", … } }
//!     chain forward { type filter hook forward priority filter; iifname @ports meta protocol != arp drop; oifname @ports … }
//! }
//! ```
//!
//! **The mark** lives from just before `FORWARD` to just after it. Eight bits, and one value of them, because single bits are
//! what others use (0x4000 and 0x8000 kube-proxy, 0x2000 portmap, 0x40000 tailscale); the upper eight, because the lower ones
//! are what people write in policy routing. Whose packets carry something there already keeps it, and is not accepted by us.
//!
//! **Shut bridges** are those of the reference: what comes from a shut bridge does not go to another shut one, whatever the
//! administrator's chain says. A strictly shut one (`isolated`) does not even forward between its own ports. That the
//! reference can only say where br_netfilter shows bridged packets to iptables; the bridge table needs none of it. ARP stays,
//! as there. No rule looks into `members`: it remembers for whom a bridge is shut, so that it opens with the last of them.
//!
//! Everything that grows is an element with its owner in the comment; the rules are always the same. A table goes with its
//! last element, and of `ip|ip6 filter` what is empty of others' rules.

mod drift;
mod forward;
mod remove;
mod table;

use std::net::IpAddr;

use super::others::{ATTEMPTS, ROUNDS, overtaken};
use super::set::{Data, Element, Part};
use super::socket::{Nftables, is_stale};
use super::transaction::Transaction;
use crate::error::{Cause, Errno, Error, Result};
use forward::Form;
pub(crate) use forward::{ACCEPTANCE, ADMIN, JUMP, PODS_CHAIN};
pub(crate) use table::{ADMITTED, MASK};
use table::{BRIDGES, MEMBERS, PORTS, WITHIN, bare, member, name, pods_of, verdict_of};

/// Name of the table, in the inet and the bridge family.
const NAME: &str = "fairlead_firewall";

/// What is to be admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Addresses of pods.
    pub addresses: Vec<IpAddr>,
    /// Whose they are; kept with each element, cut at 128 bytes.
    pub owner: String,
    /// The administrator's chain, which is asked first, of at most 28 bytes. `None`: nothing is written beside the rules of
    /// iptables, somebody else sees to it that the addresses are let through.
    pub admin_chain: Option<String>,
    /// The bridge that is to be shut, if it is.
    pub isolation: Option<Isolation>,
}

/// A bridge that is shut to other shut bridges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// Its name, at most 15 bytes.
    pub bridge: String,
    /// Nothing is forwarded between its own ports either.
    pub strict: bool,
    /// The pod's port, to which other ports are shut if `strict`. `None`: only what the node itself routes is shut.
    pub port: Option<String>,
}

/// Where the elements of an owner are, if that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hint {
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// The bridge; `None`: unknown.
    pub bridge: Option<String>,
    /// The port; `None`: unknown.
    pub port: Option<String>,
}

impl Nftables {
    /// Admits: all of it, or nothing. Elements that somebody else owned before are this owner's from now on; rules that
    /// somebody took away are there again, for everybody.
    pub fn admit(&mut self, wanted: &Admission) -> Result<()> {
        let fail = |cause| Error::new("admit", list(&wanted.addresses), cause);
        let (mut form, mut taken) = (Form::Iptables, false);
        let mut last = None;
        for round in 0..ATTEMPTS {
            let late = round >= ROUNDS;
            let generation = self.generation().map_err(fail)?;
            let laid =
                self.lay_tables(wanted).and_then(|laid| self.lay_chains(laid, wanted, form, late)).map_err(fail)?;
            let lays_rules = !laid.is_empty();
            // Rules are made by one at a time; elements are everybody's own, and come at any time. Beside busy others rules are
            // made all the same, and looked at before an element follows: what two made at once is there twice.
            let only_rules = lays_rules && late;
            let done = if only_rules {
                self.commit(&laid)
            } else {
                let laid = if lays_rules { laid.at(generation) } else { laid };
                let (laid, strict) = self.make_room(laid, wanted, taken).map_err(fail)?;
                self.commit(&elements(laid, wanted, strict))
            };
            let cause = match done {
                Ok(()) if only_rules => continue,
                Ok(()) => return Ok(()),
                Err(cause) => cause,
            };
            match cause.errno() {
                Some(Errno::ERESTART) => {}
                Some(Errno::EEXIST | Errno::EBUSY) => taken = true,
                // Somebody took a table away meanwhile, or this kernel lacks matches of x_tables.
                Some(Errno::ENOENT | Errno::EOPNOTSUPP) => match form {
                    Form::Iptables if lays_rules && !self.takes_matches().map_err(fail)? => form = Form::Native,
                    Form::Native if lays_rules && !late => return Err(fail(cause)),
                    _ => {}
                },
                _ => return Err(fail(cause)),
            }
            last = Some(cause);
        }
        Err(fail(last.filter(|cause| !is_stale(cause)).unwrap_or_else(overtaken)))
    }

    /// Who owns `address`, if it is admitted.
    pub fn admitted_by(&mut self, address: IpAddr) -> Result<Option<String>> {
        let element = self.element(pods_of(address), &[Part::Address(address)]);
        Ok(element.map_err(|cause| Error::new("look up", address, cause))?.map(|element| element.comment))
    }

    /// Whether any address is admitted: asked of the chain they all lead to, so that the answer does not cost more the more
    /// there are.
    pub fn admits_anybody(&mut self) -> Result<bool> {
        self.is_admitting().map_err(|cause| Error::new("look up", NAME, cause))
    }

    /// Everything that is kept of somebody: whose it is, and the address that is admitted, if it is one.
    pub fn admitted(&mut self) -> Result<Vec<(String, Option<IpAddr>)>> {
        let mut all = Vec::new();
        for set in table::PODS.into_iter().chain([&MEMBERS, &PORTS]) {
            let found = self.elements(set);
            let found = found.or_else(|cause| if cause.is_not_found() { Ok(Vec::new()) } else { Err(cause) });
            let found = found.map_err(|cause| Error::new("list", NAME, cause))?;
            all.extend(found.into_iter().map(|one| (one.comment.clone(), one.address())));
        }
        Ok(all)
    }

    fn is_admitting(&mut self) -> std::result::Result<bool, Cause> {
        let chain = self.chain(table::FIREWALL, table::ADMIT)?;
        // Its own rule is counted too, if nobody has flushed it.
        let rules = self.rules(table::FIREWALL, Some(table::ADMIT))?;
        Ok(chain.is_some_and(|chain| chain.uses as usize > rules.len()))
    }

    /// What is not as [`Nftables::admit`] leaves it, each in words.
    pub fn admission_drifts(&mut self, wanted: &Admission) -> Result<Vec<String>> {
        self.drifts(wanted).map_err(|cause| Error::new("look up", NAME, cause))
    }

    /// Takes out of the way what the elements of `wanted` would collide with, if something is `taken`: an address of an earlier
    /// owner, a bridge that was shut in another way. And whether its bridge is to be shut strictly: strictly shut for one is
    /// strictly shut for all, as in the reference.
    ///
    /// Not bound to a generation: whoever owns it, it is taken over, and what is no longer there says ENOENT.
    fn make_room(
        &mut self,
        mut all: Transaction,
        wanted: &Admission,
        taken: bool,
    ) -> std::result::Result<(Transaction, bool), Cause> {
        let mut strict = wanted.isolation.as_ref().is_some_and(|isolation| isolation.strict);
        if !taken {
            return Ok((all, strict));
        }
        let mut keys: Vec<_> = wanted.addresses.iter().map(|one| (pods_of(*one), vec![Part::Address(*one)])).collect();
        if let Some(isolation) = &wanted.isolation {
            keys.extend(wanted.addresses.iter().map(|one| (&MEMBERS, member(&isolation.bridge, *one))));
            keys.extend(isolation.port.iter().map(|port| (&PORTS, vec![name(port)])));
            let within = vec![name(&isolation.bridge), name(&isolation.bridge)];
            let there = self.element(&WITHIN, &within)?;
            if isolation.strict {
                keys.push((&WITHIN, within));
            } else if there.is_some_and(|there| there.data == Data::Verdict(verdict_of(true))) {
                strict = true;
                // Comes back below. Had the last of the others opened the bridge meanwhile, this one would not be there.
                keys.push((&BRIDGES, vec![name(&isolation.bridge)]));
            }
        }
        for (set, key) in keys {
            if self.element(set, &key)?.is_some() {
                all = all.delete_element(set, &key);
            }
        }
        Ok((all, strict))
    }
}

/// The elements of an admission; `within_strict`: its bridge is shut strictly, for whomever.
fn elements(mut all: Transaction, wanted: &Admission, within_strict: bool) -> Transaction {
    let owned = |key: Vec<Part>, data: Data| Element { key, data, comment: wanted.owner.clone() };
    for address in &wanted.addresses {
        all = all.new_element(pods_of(*address), &owned(vec![Part::Address(*address)], table::admit()));
    }
    let Some(Isolation { bridge, strict, port }) = &wanted.isolation else { return all };
    let verdict = Data::Verdict(verdict_of(*strict));
    for address in &wanted.addresses {
        all = all.new_element(&MEMBERS, &owned(member(bridge, *address), verdict.clone()));
    }
    let within = Element { data: Data::Verdict(verdict_of(within_strict)), ..bare(vec![name(bridge), name(bridge)]) };
    all = all.ensure_element(&BRIDGES, &bare(vec![name(bridge)])).ensure_element(&WITHIN, &within);
    match port {
        Some(port) if *strict => all.new_element(&PORTS, &owned(vec![name(port)], Data::Nothing)),
        _ => all,
    }
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
