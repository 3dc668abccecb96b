//! `macspoofchk` of the reference's `bridge`: in `bridge nat`, a rule of `PREROUTING` for the host's end of the pair, and two
//! chains. Container and interface are in their names, the network is not.

use fairlead_kernel::link;
use fairlead_kernel::netlink::Socket;
use fairlead_kernel::nft::{Family, Nftables, Table};
use fairlead_kernel::{Cause, Error};
use fairlead_protocol::{Attachment, Request};

use super::remove_chain;

const TABLE: Table = Table::new(Family::Bridge, "nat");
const PARENT: &str = "PREROUTING";
const PREFIX: &str = "cni-br-iface-";

/// DEL.
pub fn remove(nft: &mut Nftables, request: &Request) -> Result<(), Error> {
    remove_of(nft, &chain_of(&request.container_id, &request.ifname))
}

/// GC: the rules of containers that are not in the list and whose interface is gone. One whose interface is there may be of
/// another network; one whose interface is gone would bind the next that gets its name to a stranger's hardware address.
pub fn collect(nft: &mut Nftables, valid: &[Attachment]) -> Result<(), Error> {
    let kept: Vec<String> = valid.iter().map(|one| chain_of(&one.container_id, &one.ifname)).collect();
    let [there] = nft.exist([(TABLE, Some(PARENT))]).map_err(looking)?;
    if !there {
        return Ok(());
    }
    let rules = nft.rules(TABLE, Some(PARENT)).map_err(looking)?;
    let mut host = Socket::open()?;
    for rule in rules {
        let (Some(chain), Some(interface)) = (rule.leads_to(), rule.input()) else { continue };
        if !chain.starts_with(PREFIX) || kept.iter().any(|one| one == chain) {
            continue;
        }
        match link::get_by_name(&mut host, &interface) {
            Ok(_) => {}
            Err(error) if error.is_not_found() => remove_of(nft, chain)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The chain of a container's interface.
pub fn chain_of(container_id: &str, ifname: &str) -> String {
    format!("{PREFIX}{container_id}-{ifname}")
}

/// The rules that lead to a chain.
pub fn handles(nft: &mut Nftables, chain: &str) -> Result<Vec<u64>, Error> {
    let [there] = nft.exist([(TABLE, Some(PARENT))]).map_err(looking)?;
    let rules = if there { nft.rules(TABLE, Some(PARENT)).map_err(looking)? } else { Vec::new() };
    Ok(rules.iter().filter(|rule| rule.leads_to() == Some(chain)).map(|rule| rule.handle).collect())
}

/// [`remove`], of a chain.
pub fn remove_of(nft: &mut Nftables, chain: &str) -> Result<(), Error> {
    let of_address = format!("{chain}-mac");
    let [there, of_address_there] = nft.exist([(TABLE, Some(chain)), (TABLE, Some(&of_address))]).map_err(looking)?;
    if there {
        remove_chain(nft, TABLE, chain, &[PARENT], |_| true)?;
    }
    if of_address_there {
        remove_chain(nft, TABLE, &of_address, &[chain], |_| true)?;
    }
    Ok(())
}

fn looking(cause: Cause) -> Error {
    Error::new("look for", "the reference plugins' macspoofchk", cause)
}
