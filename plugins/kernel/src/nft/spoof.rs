//! Anti-spoofing: a port of a bridge sends with its own hardware address, or not at all.
//!
//! One table for everybody, two rules, and two look-ups per frame however many ports there are:
//!
//! ```text
//! table bridge fairlead_spoof {
//!     map own     { type ifname : ether_addr; elements = { "veth1" comment "…" : 02:00:00:00:00:01, … } }
//!     set allowed { type ifname . ether_addr; elements = { "veth1" . 02:00:00:00:00:01, … } }
//!     set ports   { type ifname; elements = { "veth1", … } }
//!     chain prerouting {
//!         type filter hook prerouting priority dstnat; policy accept;
//!         iifname . ether saddr @allowed accept
//!         iifname @ports drop
//!     }
//! }
//! ```
//!
//! A rule cannot compare two things of a packet, so the pair is looked up in `allowed`; `ports` says who is checked at all.
//! No rule looks into `own`: it remembers whose a port is and what its address was, so that both are found by the name alone.
//! Every frame is looked at before the bridge learns its source, tagged or not and of whatever type: the source's place in
//! the header is always the same. The table goes with its last port.

use super::expression::{Expressions, Load};
use super::others::{ATTEMPTS, Keys, ROUNDS, overtaken};
use super::set::{Data, Element, Leads, Part, Set, Type};
use super::socket::{Nftables, is_stale};
use super::table::{Base, Family, Hook, Table, Verdict};
use super::transaction::Transaction;
use crate::error::{Cause, Errno, Error, Result};
use crate::mac::Mac;

const NAME: &str = "fairlead_spoof";
const SPOOF: Table = Table::new(Family::Bridge, NAME);
const OWN: Set = Set { table: SPOOF, name: "own", key: &[Type::Interface], leads: Leads::ToValues(&[Type::Mac]) };
const ALLOWED: Set = Set { table: SPOOF, name: "allowed", key: &[Type::Interface, Type::Mac], leads: Leads::Nowhere };
const PORTS: Set = Set { table: SPOOF, name: "ports", key: &[Type::Interface], leads: Leads::Nowhere };
const PREROUTING: &str = "prerouting";
/// What nft calls `dstnat` in the bridge family: `NF_BR_PRI_NAT_DST_BRIDGED`.
const DSTNAT: i32 = -300;

/// A port that is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected {
    /// Its name on the node.
    pub port: String,
    /// The one source address that it may use.
    pub mac: Mac,
    /// Whose it is, as it was given to [`Nftables::protect`], cut at 128 bytes.
    pub owner: String,
}

impl Nftables {
    /// Frames that come in by `port` with another source address than `mac` are dropped from now on. A port that was checked
    /// before has this address and this owner from now on. `port` is a name that the kernel takes: at most 15 bytes.
    pub fn protect(&mut self, port: &str, mac: Mac, owner: &str) -> Result<()> {
        let fail = |cause| Error::new("check the source address of", port, cause);
        let wanted = Protected { port: port.to_owned(), mac, owner: owner.to_owned() };
        for _ in 0..ATTEMPTS {
            // Looked at first: a transaction that is refused costs a grace period.
            let transaction = self.replacing(&wanted).map_err(fail)?;
            match self.commit(&transaction) {
                Ok(()) => return Ok(()),
                Err(cause) if cause.is_not_found() || cause.errno() == Some(Errno::EEXIST) => {}
                Err(cause) => return Err(fail(cause)),
            }
        }
        Err(fail(overtaken()))
    }

    /// Every port that is checked.
    pub fn protected(&mut self) -> Result<Vec<Protected>> {
        let all = self.elements(&OWN).map_err(|cause| Error::new("list", NAME, cause))?;
        Ok(all.into_iter().filter_map(protected).collect())
    }

    /// How this port is checked; `None` when it is not, or not as [`Nftables::protect`] left it.
    pub fn protected_on(&mut self, port: &str) -> Result<Option<Protected>> {
        self.look_up(port).map_err(|cause| Error::new("look up", port, cause))
    }

    /// Ports are no longer checked whose owner is `mine`; gives how many there were. Nothing there is no error.
    ///
    /// With `hint`, only these ports are looked at, so that the cost does not grow with the number of all.
    pub fn unprotect(&mut self, hint: Option<&[String]>, mine: impl Fn(&str) -> bool) -> Result<usize> {
        let fail = |cause| Error::new("remove from", NAME, cause);
        let mut taken = 0;
        for round in 0..ATTEMPTS {
            let mut transaction = Transaction::default();
            let mut gone = match hint {
                Some(ports) => self.ports_named(ports).map_err(fail)?,
                None => {
                    transaction = transaction.at(self.generation().map_err(fail)?);
                    self.protected()?
                }
            };
            gone.retain(|one| mine(&one.owner));
            if round >= ROUNDS && hint.is_none() && !gone.is_empty() {
                let keys: Vec<Keys> = gone.iter().map(|one| keys_of(one).into()).collect();
                taken += self.take_away_each(&keys, &mine).map_err(fail)?;
                continue;
            }
            for one in &gone {
                transaction = self.remove(transaction, one).map_err(fail)?;
            }
            // Nothing of the owner's: a table that an interrupted removal left empty goes all the same.
            match self.commit(&transaction) {
                Ok(()) => {
                    self.remove_empty_spoof_table().map_err(fail)?;
                    return Ok(taken + gone.len());
                }
                Err(cause) if is_stale(&cause) || cause.is_not_found() => {}
                Err(cause) => return Err(fail(cause)),
            }
        }
        Err(fail(overtaken()))
    }

    /// The table goes with its last port. If others do not stop committing it stays, and goes with the next removal.
    fn remove_empty_spoof_table(&mut self) -> std::result::Result<(), Cause> {
        for _ in 0..ROUNDS {
            let generation = self.generation()?;
            if !self.exists(SPOOF, None)? || self.any_element(&OWN, |_| true)? {
                return Ok(());
            }
            match self.commit(&Transaction::default().at(generation).delete_table(SPOOF)) {
                Err(cause) if is_stale(&cause) => {}
                Err(cause) if cause.is_not_found() => return Ok(()),
                other => return other,
            }
        }
        Ok(())
    }

    fn ports_named(&mut self, ports: &[String]) -> std::result::Result<Vec<Protected>, Cause> {
        let mut found = Vec::new();
        for port in ports {
            found.extend(self.element(&OWN, &[name(port)])?.and_then(protected));
        }
        Ok(found)
    }

    fn look_up(&mut self, port: &str) -> std::result::Result<Option<Protected>, Cause> {
        let Some(found) = self.element(&OWN, &[name(port)])?.and_then(protected) else { return Ok(None) };
        let stands = self.element(&ALLOWED, &pair(&found))?.is_some()
            && self.element(&PORTS, &[name(port)])?.is_some()
            && self.spoof_rules_stand()?;
        Ok(stands.then_some(found))
    }

    fn spoof_rules_stand(&mut self) -> std::result::Result<bool, Cause> {
        Ok(self.rules(SPOOF, Some(PREROUTING))?.len() == rules().len())
    }

    /// What makes it so, whatever is there now. Not bound to a generation: what is looked for is asked of the kernel once more,
    /// by what fails if it has changed.
    fn replacing(&mut self, wanted: &Protected) -> std::result::Result<Transaction, Cause> {
        let mut transaction = Transaction::default();
        if !self.exists(SPOOF, None)? {
            // Two at once: the second is told EEXIST, and looks again.
            transaction =
                transaction.new_table(SPOOF).base_chain(SPOOF, PREROUTING, Base::filter(Hook::Prerouting, DSTNAT));
            transaction = [OWN, ALLOWED, PORTS].iter().fold(transaction, Transaction::set);
            transaction = with_rules(transaction);
            return Ok(add(transaction, wanted));
        }
        if !self.spoof_rules_stand()? {
            // Two at once: the second makes the same again.
            transaction = with_rules(transaction.flush_chain(SPOOF, PREROUTING));
        }
        if let Some(old) = self.element(&OWN, &[name(&wanted.port)])?.and_then(protected) {
            // EEXIST if it has another address by now, of which a pair would stay behind.
            transaction = self.remove(transaction.ensure_element(&OWN, &own(&old)), &old)?;
        }
        Ok(add(transaction, wanted))
    }

    /// Only what is there: an element that somebody else took away must not stop the others from going.
    fn remove(&mut self, mut all: Transaction, one: &Protected) -> std::result::Result<Transaction, Cause> {
        for (set, key) in keys_of(one) {
            if self.element(&set, &key)?.is_some() {
                all = all.delete_element(&set, &key);
            }
        }
        Ok(all)
    }
}

fn add(transaction: Transaction, one: &Protected) -> Transaction {
    let bare = |key: Vec<Part>| Element { key, data: Data::Nothing, comment: String::new() };
    transaction
        .new_element(&OWN, &own(one))
        .ensure_element(&ALLOWED, &bare(pair(one)))
        .ensure_element(&PORTS, &bare(vec![name(&one.port)]))
}

fn own(one: &Protected) -> Element {
    Element { key: vec![name(&one.port)], data: Data::Value(vec![Part::Mac(one.mac)]), comment: one.owner.clone() }
}

/// Where a port is, first the element that says whose it is.
fn keys_of(one: &Protected) -> [(Set, Vec<Part>); 3] {
    [(OWN, vec![name(&one.port)]), (ALLOWED, pair(one)), (PORTS, vec![name(&one.port)])]
}

fn with_rules(transaction: Transaction) -> Transaction {
    rules().iter().fold(transaction, |all, rule| all.append_rule(SPOOF, PREROUTING, rule))
}

fn rules() -> [Expressions; 2] {
    [
        Expressions::default().in_set(&ALLOWED, &[Load::InputName, Load::EtherSource]).verdict(&Verdict::Accept),
        Expressions::default().in_set(&PORTS, &[Load::InputName]).verdict(&Verdict::Drop),
    ]
}

fn name(port: &str) -> Part {
    Part::Interface(port.to_owned())
}

fn pair(one: &Protected) -> Vec<Part> {
    vec![name(&one.port), Part::Mac(one.mac)]
}

/// What an element of `own` says.
fn protected(element: Element) -> Option<Protected> {
    match (&element.key[..], &element.data) {
        ([Part::Interface(port)], Data::Value(value)) => match value[..] {
            [Part::Mac(mac)] => Some(Protected { port: port.clone(), mac, owner: element.comment }),
            _ => None,
        },
        _ => None,
    }
}
