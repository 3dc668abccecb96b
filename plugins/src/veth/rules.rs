//! Removing what an attachment has in netfilter: its masquerade, its guard against forged senders, its flows; made by us, or
//! by the reference.

use std::net::IpAddr;

use fairlead_kernel::Error;
use fairlead_kernel::conntrack::{self, Flows};
use fairlead_kernel::error::Errno;
use fairlead_kernel::nft::Nftables;
use fairlead_protocol::{Attachment, Request};

use crate::reference;

/// An open socket of nf_tables.
pub struct Rules(Nftables);

impl Rules {
    /// `None` on a kernel without nf_tables, which has nothing to remove.
    pub fn open(note: &mut impl FnMut(Result<(), Error>)) -> Option<Rules> {
        match Nftables::open() {
            Ok(nft) => Some(Rules(nft)),
            Err(error) if error.errno() == Some(Errno::EPROTONOSUPPORT) => None,
            Err(error) => {
                note(Err(error));
                None
            }
        }
    }

    /// Removes what has a text that is `mine`: of these addresses and ports, or of all.
    pub fn remove(
        &mut self,
        addresses: Option<&[IpAddr]>,
        ports: Option<&[String]>,
        mine: impl Fn(&str) -> bool,
        note: &mut impl FnMut(Result<(), Error>),
    ) {
        let removed = self.0.unmasquerade(addresses, &mine);
        note(self.tolerant(removed));
        let removed = self.0.unprotect(ports, &mine);
        note(self.tolerant(removed));
    }

    /// Removes what the reference made for the attachment.
    pub fn remove_references(
        &mut self,
        request: &Request,
        addresses: &[IpAddr],
        note: &mut impl FnMut(Result<(), Error>),
    ) {
        note(reference::masquerade::remove(&mut self.0, request, addresses));
        note(reference::spoof::remove(&mut self.0, request));
    }

    /// Removes what the reference made for the network, but for these attachments.
    pub fn collect_references(
        &mut self,
        network: &str,
        valid: &[Attachment],
        note: &mut impl FnMut(Result<(), Error>),
    ) {
        note(reference::masquerade::collect(&mut self.0, network, valid));
        note(reference::spoof::collect(&mut self.0, valid));
    }

    /// Makes the kernel forget the flows of these addresses: whoever gets them next shall not get their flows.
    pub fn forget(rules: Option<&mut Rules>, addresses: &[IpAddr]) -> Result<(), Error> {
        let flows: Vec<Flows> = addresses.iter().map(|address| Flows::Of(*address)).collect();
        match rules {
            Some(Rules(nft)) => nft.forget(&flows),
            None => conntrack::forget(&flows),
        }
    }

    /// Gives the socket up at the end of the verb: closing it would wait until what was removed is freed, by whomever.
    pub fn leave(self) {
        self.0.leave();
    }

    /// A kernel that has netfilter's socket but not nf_tables answers EINVAL to everything.
    fn tolerant(&mut self, removed: Result<usize, Error>) -> Result<(), Error> {
        match removed {
            Err(error) if error.errno() == Some(Errno::EINVAL) && self.0.probe().is_err() => Ok(()),
            other => other.map(drop),
        }
    }
}
