//! What an ADD has made so far, each with its way back. A bridge, its addresses and the node's forwarding are not in it:
//! they are the network's, and another container may lean on them already.

use std::net::IpAddr;

use fairlead_kernel::nft::Nftables;
use fairlead_kernel::{Error, Mac, link};
use fairlead_protocol::{CniError, CniResult, Request, delegate};
use ipnet::IpNet;

use crate::container::{absent_is_done, failed};
use crate::doors::Doors;
use crate::owner;

/// An ADD under way.
pub struct Made<'a> {
    request: &'a Request,
    /// The digits of the attachment.
    pub mark: String,
    ipam: Option<String>,
    host_end: Option<u32>,
    masqueraded: Vec<IpAddr>,
    protected: Option<String>,
    nft: Option<Nftables>,
}

impl<'a> Made<'a> {
    /// Nothing yet.
    pub fn new(request: &'a Request) -> Made<'a> {
        let mark = owner::mark(&request.name, &request.container_id, &request.ifname);
        Made { request, mark, ipam: None, host_end: None, masqueraded: Vec::new(), protected: None, nft: None }
    }

    /// What says in the kernel whose something is.
    pub fn text(&self) -> String {
        owner::text_of(&self.mark, &self.request.name, &self.request.container_id, &self.request.ifname)
    }

    /// Addresses of the IPAM plugin of this name. Errors: its own, and that it gave none.
    pub fn lease(&mut self, ipam: &str) -> Result<CniResult, CniError> {
        let answer = delegate::add(ipam, self.request)?;
        self.ipam = Some(ipam.to_owned());
        if answer.ips.is_empty() {
            return Err(CniError::internal("IPAM plugin returned missing IP config"));
        }
        Ok(answer)
    }

    /// A pair whose host's end has this index.
    pub fn paired(&mut self, host_end: u32) {
        self.host_end = Some(host_end);
    }

    /// Masquerades what the container sends beyond its networks.
    pub fn masquerade(&mut self, addresses: &[IpNet]) -> Result<(), CniError> {
        let text = self.text();
        self.nft()?.masquerade(addresses, &text).map_err(failed)?;
        self.masqueraded = addresses.iter().map(|net| net.addr()).collect();
        Ok(())
    }

    /// Lets nothing in by the port of this name that does not come from the container's own hardware address.
    pub fn protect(&mut self, port: &str, mac: Mac) -> Result<(), CniError> {
        let text = self.text();
        self.nft()?.protect(port, mac, &text).map_err(failed)?;
        self.protected = Some(port.to_owned());
        Ok(())
    }

    fn nft(&mut self) -> Result<&mut Nftables, CniError> {
        let nft = match self.nft.take() {
            Some(nft) => nft,
            None => Nftables::open().map_err(failed)?,
        };
        Ok(self.nft.insert(nft))
    }

    /// The end of the ADD: what it answers, or its error with everything taken back.
    pub fn end(self, attached: Result<CniResult, CniError>, doors: &mut Doors) -> Result<CniResult, CniError> {
        match attached {
            Ok(result) => {
                // Closing waits if anybody removed something in the meantime.
                if let Some(nft) = self.nft {
                    nft.leave();
                }
                Ok(result)
            }
            Err(error) => Err(self.undo(error, doors)),
        }
    }

    /// Takes everything back, the last first, and never stops: the error, completed by what went wrong on the way.
    fn undo(mut self, error: CniError, doors: &mut Doors) -> CniError {
        let mut troubles = Vec::new();
        let mut note = |result: Result<(), Error>| troubles.extend(result.err().map(|error| error.to_string()));
        if let Some(nft) = &mut self.nft {
            let mine = |found: &str| owner::is_of(found, &self.mark);
            if !self.masqueraded.is_empty() {
                note(nft.unmasquerade(Some(&self.masqueraded), mine).map(drop));
            }
            if let Some(port) = self.protected {
                note(nft.unprotect(Some(&[port]), mine).map(drop));
            }
        }
        if let Some(index) = self.host_end {
            note(link::delete(&mut doors.host, index).or_else(absent_is_done));
        }
        if let Some(ipam) = self.ipam {
            troubles.extend(delegate::del(&ipam, self.request).err().map(|error| error.to_string()));
        }
        if let Some(nft) = self.nft {
            nft.leave();
        }
        if troubles.is_empty() {
            return error;
        }
        let said = format!("{}; and taking back what was done: {}", error.details, troubles.join("; "));
        error.with_details(said.trim_start_matches("; "))
    }
}
