//! Maps in memory for the tests, with failures on request. A clone is another daemon's view of the same maps.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use anyhow::{Result, bail};
use fairlead_ebpf_shared::{
    AddressWord, Backend, ClientAddresses, Frontend, FrontendKey, OptionsWord, RangeKey, RangeTag, Reason, SetWord,
};
use fairlead_proxy_model::{Dump, MapOp, Sizes, Tables};

use super::{GracePeriod, Host, Maps};

/// See the head of the file.
#[derive(Clone)]
pub struct FakeMaps {
    pub tables: Rc<RefCell<Tables>>,
    sizes: Sizes,
    /// For each call in turn whether it fails; none left: it does not. A failing write is done half or not at all.
    pub failures: Rc<RefCell<Vec<bool>>>,
    /// What was told last.
    pub host: Rc<Cell<Host>>,
    /// By cookie.
    pub clients: Rc<RefCell<BTreeMap<u64, ClientAddresses>>>,
    /// What the programs are made out to have counted.
    pub unknown_clients: Rc<Cell<u64>>,
    /// What is retired, once; a line each.
    pub predecessors: Rc<RefCell<Vec<String>>>,
}

impl FakeMaps {
    pub fn new(sizes: Sizes) -> Self {
        Self {
            tables: Rc::new(RefCell::new(Tables::new(sizes))),
            sizes,
            failures: Rc::default(),
            host: Rc::default(),
            clients: Rc::default(),
            unknown_clients: Rc::default(),
            predecessors: Rc::default(),
        }
    }

    fn call(&self, op: MapOp) -> Result<()> {
        let fails = self.failures.borrow_mut().pop().unwrap_or(false);
        if !fails {
            self.tables.borrow_mut().apply(&op);
            return Ok(());
        }
        if let MapOp::PutBackends { base, backends } = op {
            let half = backends[..backends.len() / 2].to_vec();
            self.tables.borrow_mut().apply(&MapOp::PutBackends { base, backends: half });
        }
        bail!("a failure on request (ENOMEM)")
    }
}

impl Maps for FakeMaps {
    fn sizes(&self) -> Sizes {
        self.sizes
    }

    fn put_backends(&mut self, base: u32, backends: &[Backend]) -> Result<()> {
        self.call(MapOp::PutBackends { base, backends: backends.to_vec() })
    }

    fn switch_set(&mut self, slot: u32, word: SetWord) -> Result<()> {
        self.call(MapOp::SwitchSet { slot, word })
    }

    fn clear_slot(&mut self, slot: u32) -> Result<()> {
        self.call(MapOp::ClearSlot { slot })
    }

    fn put_frontend(&mut self, key: &FrontendKey, value: &Frontend) -> Result<()> {
        self.call(MapOp::PutFrontend { key: *key, value: *value })
    }

    fn put_frontends(&mut self, entries: &[(FrontendKey, Frontend)]) -> Result<()> {
        entries.iter().try_for_each(|(key, value)| self.put_frontend(key, value))
    }

    fn delete_frontend(&mut self, key: &FrontendKey) -> Result<()> {
        self.call(MapOp::DeleteFrontend { key: *key })
    }

    fn put_range(&mut self, key: &RangeKey, tag: RangeTag) -> Result<()> {
        self.call(MapOp::PutRange { key: *key, tag })
    }

    fn delete_range(&mut self, key: &RangeKey) -> Result<()> {
        self.call(MapOp::DeleteRange { key: *key })
    }

    fn set_options(&mut self, slot: u32, word: OptionsWord) -> Result<()> {
        self.call(MapOp::SetOptions { slot, word })
    }

    fn put_address(&mut self, addr: &[u8; 16], value: AddressWord) -> Result<()> {
        self.call(MapOp::PutAddress { addr: *addr, value })
    }

    fn put_addresses(&mut self, entries: &[([u8; 16], AddressWord)]) -> Result<()> {
        entries.iter().try_for_each(|(addr, value)| self.put_address(addr, *value))
    }

    fn delete_address(&mut self, addr: &[u8; 16]) -> Result<()> {
        self.call(MapOp::DeleteAddress { addr: *addr })
    }

    fn tell_host(&mut self, host: &Host) -> Result<()> {
        if self.failures.borrow_mut().pop().unwrap_or(false) {
            bail!("a failure on request (ENOMEM)");
        }
        self.host.set(*host);
        Ok(())
    }

    fn unknown_clients(&self) -> Result<u64> {
        Ok(self.unknown_clients.get())
    }

    fn put_client(&mut self, netns: u64, addresses: &ClientAddresses) -> Result<()> {
        if self.failures.borrow_mut().pop().unwrap_or(false) {
            bail!("a failure on request (E2BIG)");
        }
        self.clients.borrow_mut().insert(netns, *addresses);
        Ok(())
    }

    fn delete_client(&mut self, netns: u64) -> Result<()> {
        self.clients.borrow_mut().remove(&netns);
        Ok(())
    }

    fn retire_predecessors(&mut self) -> Result<Vec<String>> {
        let fails = self.failures.borrow_mut().pop().unwrap_or(false);
        if fails { bail!("a failure on request (EBUSY)") } else { Ok(self.predecessors.take()) }
    }

    fn dump(&self) -> Result<Dump> {
        if self.failures.borrow_mut().pop().unwrap_or(false) {
            bail!("a failure on request (EINTR)");
        }
        Ok(self.tables.borrow().dump())
    }

    fn counters(&self) -> Result<[u64; Reason::ALL.len()]> {
        Ok([0; Reason::ALL.len()])
    }

    fn slot_counters(&self, slots: &[u32]) -> Result<Vec<u64>> {
        Ok(slots.iter().map(|slot| u64::from(*slot)).collect())
    }

    fn grace_period(&self) -> GracePeriod {
        let fails = self.failures.borrow_mut().pop().unwrap_or(false);
        Box::new(move || if fails { bail!("a failure on request (EINVAL)") } else { Ok(()) })
    }
}
