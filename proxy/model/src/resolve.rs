//! How a dump is read: where each frontend leads, and by which rules.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use fairlead_ebpf_shared::{AddressClass, Frontend, FrontendKey, Options, OptionsWord, frontend_tag};
use ipnet::IpNet;

use crate::actual::{ip_addr, socket_addr};
use crate::desired::Desired;
use crate::ranges::range_net;
use crate::tables::{Dump, DumpedSet};

/// Where a frontend leads. The order is the programs': frontend, tag, words, tags, backends, tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To one of these, ascending.
    Backends(Vec<SocketAddr>),
    /// Nowhere: an empty set, refused at once.
    Refused,
    /// Nowhere: an empty set, dropped, because other nodes have endpoints.
    Dropped,
    /// Nowhere: some part belongs to another frontend; refused after a few looks.
    Broken(Break),
}

/// Which part belongs to another frontend, or is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The frontend's value.
    Frontend,
    /// The slot's set word.
    Word,
    /// The slot's options word.
    Options,
    /// A backend.
    Backend,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frontend => "the frontend's tag is not its own",
            Self::Word => "the slot's word is another frontend's",
            Self::Options => "the slot's options are another frontend's",
            Self::Backend => "a backend is another frontend's",
        })
    }
}

/// One frontend, read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Where it leads.
    pub outcome: Outcome,
    /// By which rules; `group` is 0 here, see below.
    pub options: Options,
    /// The frontend that names its affinity group; `None`: it has no affinity, or nobody has the group's slot.
    pub group: Option<FrontendKey>,
    /// Clients that are admitted, ascending, if the options say that not all are.
    pub ranges: Vec<IpNet>,
}

/// Everything that the tables say, without the numbers that lead from part to part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// By key.
    pub frontends: BTreeMap<FrontendKey, Resolved>,
    /// The class of each address; `None`: the word is not the address's own.
    pub addresses: BTreeMap<IpAddr, Option<AddressClass>>,
}

impl Dump {
    /// Where the frontend `key` with the value `value` leads.
    #[must_use]
    pub fn resolve(&self, key: &FrontendKey, value: &Frontend) -> Outcome {
        if value.tag != frontend_tag(key, value.slot) {
            return Outcome::Broken(Break::Frontend);
        }
        let Some(DumpedSet { word, backends }) = self.sets.get(&value.slot) else {
            return Outcome::Broken(Break::Word);
        };
        if word.tag() != value.tag {
            return Outcome::Broken(Break::Word);
        }
        let Some(options) = self.options_of(value) else { return Outcome::Broken(Break::Options) };
        if word.count() == 0 {
            return if options.has(OptionsWord::FLAG_DROP) { Outcome::Dropped } else { Outcome::Refused };
        }
        if backends.len() != word.count() as usize || backends.iter().any(|backend| backend.tag != value.tag) {
            return Outcome::Broken(Break::Backend);
        }
        let mut addrs: Vec<SocketAddr> = backends.iter().map(socket_addr).collect();
        addrs.sort_unstable();
        Outcome::Backends(addrs)
    }

    /// The options of a frontend; `None`: the word is another's.
    #[must_use]
    pub fn options_of(&self, value: &Frontend) -> Option<OptionsWord> {
        self.options.get(&value.slot).copied().filter(|word| word.tag() == value.tag)
    }

    /// What the tables say.
    #[must_use]
    pub fn view(&self) -> View {
        let by_slot: BTreeMap<u32, FrontendKey> =
            self.frontends.iter().map(|(key, value)| (value.slot, *key)).collect();
        let mut nets: BTreeMap<u32, Vec<(IpNet, u32)>> = BTreeMap::new();
        for (key, tag) in &self.ranges {
            if let Some(net) = range_net(key) {
                nets.entry(u32::from_be_bytes(key.data.slot)).or_default().push((net, *tag));
            }
        }
        let frontends = self.frontends.iter().map(|(key, value)| {
            let options = self.options_of(value).map(OptionsWord::options).unwrap_or_default();
            let group = if options.affinity_s > 0 { by_slot.get(&options.group).copied() } else { None };
            let ours = nets.get(&value.slot).into_iter().flatten().filter(|(_, tag)| *tag == value.tag);
            let mut ranges: Vec<IpNet> = ours.map(|(net, _)| *net).collect();
            ranges.sort_unstable();
            if options.flags & OptionsWord::FLAG_RANGES == 0 {
                ranges.clear();
            }
            let options = Options { group: 0, ..options };
            (*key, Resolved { outcome: self.resolve(key, value), options, group, ranges })
        });
        let addresses = self.addresses.iter().map(|(addr, word)| (ip_addr(*addr), word.class(addr)));
        View { frontends: frontends.collect(), addresses: addresses.collect() }
    }
}

impl Desired {
    /// What the tables should say; equal to [`Dump::view`] of a dump that is as desired.
    #[must_use]
    pub fn view(&self) -> View {
        let frontends = self.frontends.iter().map(|(key, frontend)| {
            let flags = frontend.flags();
            let outcome = match &frontend.backends[..] {
                [] if flags & OptionsWord::FLAG_DROP != 0 => Outcome::Dropped,
                [] => Outcome::Refused,
                backends => Outcome::Backends(backends.to_vec()),
            };
            let affinity_s = frontend.affinity_s.unwrap_or(0);
            let resolved = Resolved {
                outcome,
                options: Options { affinity_s, group: 0, flags },
                group: (affinity_s > 0).then(|| self.group_of(key, frontend)),
                ranges: frontend.ranges.as_deref().unwrap_or_default().to_vec(),
            };
            (*key, resolved)
        });
        let addresses = self.addresses.iter().map(|(addr, class)| (*addr, Some(*class)));
        View { frontends: frontends.collect(), addresses: addresses.collect() }
    }
}
