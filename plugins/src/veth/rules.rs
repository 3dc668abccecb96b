//! Removing what an attachment has in nf_tables: its masquerade and its guard against forged senders.

use std::net::IpAddr;

use fairlead_kernel::Error;
use fairlead_kernel::error::Errno;
use fairlead_kernel::nft::Nftables;

/// An open socket of nf_tables.
///
/// Closing one that has removed something waits until the kernel has freed it, an RCU grace period (nft_rcv_nl_event,
/// net/netfilter/nf_tables_api.c). Removing a link waits for one too: closed after that, this one has nothing left to wait
/// for.
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

    /// A kernel that has netfilter's socket but not nf_tables answers EINVAL to everything.
    fn tolerant(&mut self, removed: Result<usize, Error>) -> Result<(), Error> {
        match removed {
            Err(error) if error.errno() == Some(Errno::EINVAL) && self.0.probe().is_err() => Ok(()),
            other => other.map(drop),
        }
    }
}
