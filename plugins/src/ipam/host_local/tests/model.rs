//! Any history of calls, foreign writers, reboots and power failures against a list of who has what.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;

use super::super::boot::{self, Boot};
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Add(u8),
    Del(u8),
    /// Everybody whose bit is set is valid.
    Gc(u8),
    /// The reference leases an address, if it is free.
    ForeignAdd(u8, u8),
    /// Somebody removes a file.
    ForeignRemove(u8),
    /// The reference is killed between making a file and filling it.
    ForeignCrash(u8),
    Reboot,
    /// A reboot that was not asked for: the index lost everything from a byte on, and one byte is another.
    PowerFailure(u16, u16),
    Status,
    Check(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// By one of our calls that wrote, and the index has not been damaged since.
    Yes,
    No,
    /// Perhaps: what remembered it was damaged.
    Maybe,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    who: u8,
    boot: u128,
    seen: Seen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0u8..6;
    let address = 2u8..15;
    let step = prop_oneof![
        6 => who.clone().prop_map(Step::Add),
        4 => who.clone().prop_map(Step::Del),
        1 => any::<u8>().prop_map(Step::Gc),
        2 => (who.clone(), address.clone()).prop_map(|(who, address)| Step::ForeignAdd(who, address)),
        1 => address.clone().prop_map(Step::ForeignRemove),
        1 => address.prop_map(Step::ForeignCrash),
        1 => Just(Step::Reboot),
        1 => (any::<u16>(), any::<u16>()).prop_map(|(cut, byte)| Step::PowerFailure(cut, byte)),
        1 => Just(Step::Status),
        2 => who.prop_map(Step::Check),
    ];
    proptest::collection::vec(step, 1..60)
}

struct Model {
    network: Network,
    held: BTreeMap<u8, Held>,
    boot: u128,
}

impl Model {
    fn new() -> Model {
        let model = Model { network: Network::new(&["10.0.0.0/28"]), held: BTreeMap::new(), boot: 1 };
        boot::pretend(Some(Boot::from(model.boot)));
        model
    }

    fn path(&self, address: u8) -> std::path::PathBuf {
        self.network.directory().join(format!("10.0.0.{address}"))
    }

    /// Whose lease is on disk, the empty ones left out.
    fn disk(&self) -> BTreeMap<u8, u8> {
        let of = |address: u8| {
            let text = fs::read_to_string(self.path(address)).ok()?;
            Some((address, text.strip_prefix('c')?.strip_suffix("\r\neth0")?.parse().ok()?))
        };
        (0..=255).filter_map(of).collect()
    }

    /// What the next call of ours that writes removes, and may remove.
    fn must_and_may_go(&self) -> (Vec<u8>, Vec<u8>) {
        let past = |seen: Seen| {
            let is = move |held: &&u8| self.held[held].boot != self.boot && self.held[held].seen == seen;
            self.held.keys().filter(is).copied().collect::<Vec<_>>()
        };
        (past(Seen::Yes), past(Seen::Maybe))
    }

    /// After a call of ours that wrote: what was of an earlier boot is gone, everything else has been seen.
    fn wrote(&mut self) -> Result<(), TestCaseError> {
        let (must, may) = self.must_and_may_go();
        let disk = self.disk();
        for address in must {
            prop_assert!(!disk.contains_key(&address), "10.0.0.{} is of an earlier boot and still there", address);
            self.held.remove(&address);
        }
        for address in may.into_iter().filter(|address| !disk.contains_key(address)) {
            self.held.remove(&address);
        }
        for held in self.held.values_mut().filter(|held| held.seen != Seen::Yes) {
            // Seen now for the first time, as far as anybody knows.
            (held.seen, held.boot) = (Seen::Yes, self.boot);
        }
        Ok(())
    }

    fn play(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Add(who) => self.add(who)?,
            Step::Del(who) => {
                let existed = self.network.directory().exists();
                prop_assert_eq!(self.network.call("DEL", &format!("c{who}")), Ok(Value::Null));
                self.held.retain(|_, held| held.who != who);
                if existed {
                    self.wrote()?;
                }
            }
            Step::Gc(valid) => {
                let is_valid = |who: u8| valid & (1 << who) != 0;
                let mut config = self.network.config();
                let list = (0..6).filter(|who| is_valid(*who));
                let list: Vec<Value> =
                    list.map(|who| json!({"containerID": format!("c{who}"), "ifname": "eth0"})).collect();
                config["cni.dev/valid-attachments"] = list.into();
                let existed = self.network.directory().exists();
                prop_assert_eq!(call("GC", "", &config), Ok(Value::Null));
                self.held.retain(|_, held| is_valid(held.who));
                if existed {
                    self.wrote()?;
                }
            }
            Step::ForeignAdd(who, address) => {
                if self.network.directory().exists() && !self.path(address).exists() {
                    fs::write(self.path(address), format!("c{who}\r\neth0")).unwrap();
                    self.held.insert(address, Held { who, boot: self.boot, seen: Seen::No });
                }
            }
            Step::ForeignRemove(address) => {
                let _ = fs::remove_file(self.path(address));
                self.held.remove(&address);
            }
            Step::ForeignCrash(address) => {
                if self.network.directory().exists() && !self.path(address).exists() {
                    fs::write(self.path(address), "").unwrap();
                }
            }
            Step::Reboot => self.reboot(),
            Step::PowerFailure(cut, byte) => {
                self.reboot();
                let path = self.network.directory().join(".fairlead-index");
                if let Ok(mut bytes) = fs::read(&path) {
                    bytes.truncate(usize::from(cut));
                    if let Some(byte) = bytes.get_mut(usize::from(byte)) {
                        *byte ^= 0x55;
                    }
                    fs::write(&path, bytes).unwrap();
                }
                for held in self.held.values_mut().filter(|held| held.seen == Seen::Yes) {
                    held.seen = Seen::Maybe;
                }
            }
            Step::Status => {
                let (must, may) = self.must_and_may_go();
                let said = self.network.call("STATUS", "");
                match said {
                    Ok(_) => prop_assert!(self.held.len() - must.len() - may.len() < 13, "{:?}", self.held),
                    Err((code, _)) => prop_assert!(code == 50 && self.held.len() - must.len() >= 13, "{:?}", self.held),
                }
            }
            Step::Check(who) => {
                let (must, may) = self.must_and_may_go();
                let its = self.held.iter().filter(|(_, held)| held.who == who).map(|(address, _)| *address);
                let (mut alive, mut perhaps) = (false, false);
                for address in its {
                    alive |= !must.contains(&address) && !may.contains(&address);
                    perhaps |= may.contains(&address);
                }
                let holds = self.network.call("CHECK", &format!("c{who}")).is_ok();
                prop_assert!(holds == alive || (holds && perhaps), "c{}: {} {:?}", who, holds, self.held);
            }
        }
        let (model, disk) = (self.held.iter().map(|(address, held)| (*address, held.who)).collect(), self.disk());
        prop_assert_eq!(disk, model, "after {:?}", step);
        Ok(())
    }

    fn add(&mut self, who: u8) -> Result<(), TestCaseError> {
        let said = self.network.call("ADD", &format!("c{who}"));
        let given = said.as_ref().ok().map(|result| {
            let address = result["ips"][0]["address"].as_str().unwrap_or_default();
            address.trim_start_matches("10.0.0.").trim_end_matches("/28").parse::<u8>().unwrap()
        });
        // What was of an earlier boot may be given anew at once.
        let (must, may) = self.must_and_may_go();
        if let Some(address) = given.filter(|address| must.contains(address) || may.contains(address)) {
            self.held.remove(&address);
        }
        self.wrote()?;
        let has = self.held.values().any(|held| held.who == who);
        match said {
            Ok(_) => {
                let address = given.unwrap_or_default();
                prop_assert!((2..15).contains(&address), "{}", address);
                prop_assert!(!self.held.contains_key(&address), "10.0.0.{} was somebody's", address);
                prop_assert!(!has, "c{} had an address", who);
                self.held.insert(address, Held { who, boot: self.boot, seen: Seen::Yes });
            }
            Err((7, text)) => prop_assert!(has && text.contains("duplicate allocation"), "{}", text),
            Err((11, text)) => prop_assert!(self.held.len() == 13, "{} of 13: {}", self.held.len(), text),
            Err(other) => prop_assert!(false, "{:?}", other),
        }
        Ok(())
    }

    fn reboot(&mut self) {
        self.boot += 1;
        boot::pretend(Some(Boot::from(self.boot)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_history_doubles_or_loses_an_address(steps in steps()) {
        let mut model = Model::new();
        for step in &steps {
            model.play(step)?;
        }
    }
}
