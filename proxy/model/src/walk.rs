//! The programs' way through the maps, in memory: what a client gets that connects to an address.

use std::net::{IpAddr, SocketAddr};

use fairlead_ebpf_shared::{AddressClass, Affinity, AffinityKey, Be16, FrontendKey, OptionsWord, frontend_tag};

use crate::actual::{ip_addr, socket_addr};
use crate::facts::{Family, Protocol};
use crate::memory::Tables;
use crate::policy::{address_bytes, any_node, frontend_key};
use crate::ranges::range_net;

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The address it sends from; `None`: nobody knows.
    pub addr: Option<IpAddr>,
    /// Its network namespace.
    pub netns: u64,
    /// It is in the node's own network namespace.
    pub is_host: bool,
    /// [`SCOPE_NODE`](fairlead_ebpf_shared::SCOPE_NODE) or [`SCOPE_OUTSIDE`](fairlead_ebpf_shared::SCOPE_OUTSIDE).
    pub scope: u8,
}

/// What it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its connection is left alone.
    Pass,
    /// A refusal.
    Refused(Why),
    /// Nothing.
    Dropped(Why),
    /// One of these, ascending.
    To {
        /// The frontend that leads there.
        key: FrontendKey,
        /// Any of them.
        backends: Vec<SocketAddr>,
    },
}

/// Why a client gets no backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// There is no endpoint.
    NoEndpoint,
    /// There are some, but none on this node.
    NoLocalEndpoint,
    /// A cluster IP, at a port that no service has there.
    UndefinedPort,
    /// It is outside of the source ranges.
    SourceRange,
    /// There are source ranges, and its address is not known.
    ClientUnknown,
    /// The maps are broken.
    Broken,
}

impl Tables {
    /// What `client` gets at `addr`.
    #[must_use]
    pub fn ask(&self, client: &Client, addr: IpAddr, port: u16, protocol: Protocol) -> Verdict {
        let Some((key, word, slot)) = (match self.find(client, addr, port, protocol) {
            Ok(found) => found,
            Err(verdict) => return verdict,
        }) else {
            return Verdict::Pass;
        };
        if word.has(OptionsWord::FLAG_RANGES) {
            match client.addr {
                None => return Verdict::Dropped(Why::ClientUnknown),
                Some(addr) if !self.admits(slot, word.tag(), addr) => return Verdict::Dropped(Why::SourceRange),
                Some(_) => {}
            }
        }
        let set = self.words.get(slot as usize).copied().unwrap_or_default();
        if set.tag() != word.tag() {
            return Verdict::Refused(Why::Broken);
        }
        if set.count() == 0 {
            return match word.has(OptionsWord::FLAG_DROP) {
                true => Verdict::Dropped(Why::NoLocalEndpoint),
                false => Verdict::Refused(Why::NoEndpoint),
            };
        }
        let base = set.base() as usize;
        let Some(backends) = self.backends.get(base..base + set.count() as usize) else {
            return Verdict::Refused(Why::Broken);
        };
        if backends.iter().any(|backend| backend.tag != word.tag()) {
            return Verdict::Refused(Why::Broken);
        }
        Verdict::To { key, backends: backends.iter().map(socket_addr).collect() }
    }

    /// The same, and which backend it gets: the one it had, while that is in the set and the time is not over; else the one
    /// at `pick`. `now_s`: seconds since any moment.
    pub fn connect(
        &mut self,
        client: &Client,
        addr: IpAddr,
        port: u16,
        protocol: Protocol,
        pick: usize,
        now_s: u64,
    ) -> (Verdict, Option<SocketAddr>) {
        let verdict = self.ask(client, addr, port, protocol);
        let Verdict::To { key, backends } = &verdict else { return (verdict, None) };
        let picked = backends[pick % backends.len()];
        let Some(word) = self.frontends.get(key).map(|value| self.options[value.slot as usize]) else {
            return (verdict, None);
        };
        if word.affinity_s() == 0 {
            return (verdict, Some(picked));
        }
        let entry = AffinityKey { netns: client.netns, group: word.group(), reserved: 0 };
        let kept = self.affinity.get(&entry).and_then(|known| {
            let backend = SocketAddr::new(ip_addr(known.backend), known.port.get());
            let age_s = now_s.saturating_sub(known.used_ns / 1_000_000_000);
            (age_s < u64::from(word.affinity_s()) && backends.binary_search(&backend).is_ok()).then_some(backend)
        });
        let backend = kept.unwrap_or(picked);
        let value = Affinity {
            used_ns: now_s * 1_000_000_000,
            backend: address_bytes(backend.ip()),
            port: Be16::new(backend.port()),
            reserved: [0; 6],
        };
        self.affinity.insert(entry, value);
        (verdict, Some(backend))
    }

    /// The frontend asked for: that very address, else the NodePort. `Ok(None)`: none of ours.
    fn find(
        &self,
        client: &Client,
        addr: IpAddr,
        port: u16,
        protocol: Protocol,
    ) -> Result<Option<(FrontendKey, OptionsWord, u32)>, Verdict> {
        let scoped = |addr| FrontendKey { scope: client.scope, ..frontend_key(addr, port, protocol) };
        if !addr.is_unspecified() && self.frontends.contains_key(&scoped(addr)) {
            return self.options_of(scoped(addr)).map(Some);
        }
        let class = if addr.is_loopback() || addr.is_unspecified() {
            (client.is_host && self.localhost_node_ports).then_some(AddressClass::OwnNode)
        } else {
            let bytes = address_bytes(addr);
            self.addresses.get(&bytes).and_then(|word| word.class(&bytes))
        };
        let key = scoped(any_node(Family::of(addr)));
        match class {
            None => Ok(None),
            Some(AddressClass::ClusterIp) => Err(Verdict::Refused(Why::UndefinedPort)),
            Some(_) if !self.frontends.contains_key(&key) => Ok(None),
            Some(AddressClass::OwnNode) => self.options_of(key).map(Some),
            Some(AddressClass::OtherNode) => {
                let found = self.options_of(key)?;
                Ok((!found.1.has(OptionsWord::FLAG_LOCAL_ONLY)).then_some(found))
            }
        }
    }

    fn options_of(&self, key: FrontendKey) -> Result<(FrontendKey, OptionsWord, u32), Verdict> {
        let value = self.frontends.get(&key).filter(|value| value.tag == frontend_tag(&key, value.slot));
        let value = value.ok_or(Verdict::Refused(Why::Broken))?;
        let word = self.options.get(value.slot as usize).copied().unwrap_or_default();
        if word.tag() == value.tag { Ok((key, word, value.slot)) } else { Err(Verdict::Refused(Why::Broken)) }
    }

    fn admits(&self, slot: u32, tag: u32, client: IpAddr) -> bool {
        let ours = self.ranges.iter().filter(|(key, range)| key.data.slot == slot.to_be_bytes() && **range == tag);
        ours.filter_map(|(key, _)| range_net(key)).any(|net| net.contains(&client))
    }
}
