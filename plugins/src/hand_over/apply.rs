//! Theirs first, then ours away.

use std::net::IpAddr;
use std::path::Path;

use fairlead_kernel::nft::Nftables;
use fairlead_kernel::xtables;
use fairlead_protocol::Command;
use ipnet::IpNet;

use super::masquerade::{self, Backend, Pod};
use super::plan::{Deed, Piece, Step};
use super::spoof_check;
use crate::cnitool::{Found, run_file};
use crate::{owner, reference};

/// Does what is to be done about a piece, and takes ours away. Errors: in one sentence; then ours stays.
pub fn hand_over(nft: &mut Nftables, to: &Path, step: &Step<'_>, piece: Piece, deed: &Deed) -> Result<(), String> {
    let pod = pod_of(step.found);
    match deed {
        Deed::Keep(reason) => return Err(reason.clone()),
        Deed::Drop => {}
        Deed::Masquerade { backend, addresses } => {
            masquerade::write(nft, pod, Backend::choose(backend.as_deref()), addresses)?;
        }
        Deed::SpoofCheck { ports } => spoof_check::write(nft, pod, ports)?,
        Deed::Call { kind, configs } => {
            for config in configs {
                if !stands(nft, to, step.found, kind, config)? {
                    call(to, step.found, kind, Command::Add, config)?;
                }
            }
        }
    }
    if piece == Piece::Forwards && *deed != Deed::Drop {
        // The reference lets 127/8 out by itself, and counts on it.
        nft.leave_localnets().map_err(|error| error.to_string())?;
    }
    take_away(nft, piece, |found| owner::is_of(found, &step.mark))
}

/// Takes what is `mine` away of ours.
pub fn take_away(nft: &mut Nftables, piece: Piece, mine: impl Fn(&str) -> bool) -> Result<(), String> {
    let done = match piece {
        Piece::Masquerade => nft.unmasquerade(None, mine).map(drop),
        Piece::SpoofCheck => nft.unprotect(None, mine).map(drop),
        Piece::Forwards => nft.unforward(None, mine).map(drop),
        Piece::Admission => nft.dismiss(None, mine).and_then(|_| xtables::dismiss(|| nft.admits_anybody())),
    };
    done.map_err(|error| error.to_string())
}

/// Takes away what was written for an attachment whose DEL came and went meanwhile.
pub fn undo(nft: &mut Nftables, to: &Path, step: &Step<'_>, deed: &Deed) -> Result<(), String> {
    let pod = pod_of(step.found);
    match deed {
        Deed::Keep(_) | Deed::Drop => Ok(()),
        Deed::Masquerade { addresses, .. } => {
            let only: Vec<IpAddr> = addresses.iter().map(IpNet::addr).collect();
            reference::masquerade::remove_of(nft, (pod.network, pod.container_id, pod.ifname), &only)
                .map_err(|error| error.to_string())
        }
        Deed::SpoofCheck { .. } => {
            let chain = reference::spoof::chain_of(pod.container_id, pod.ifname);
            reference::spoof::remove_of(nft, &chain).map_err(|error| error.to_string())
        }
        Deed::Call { kind, configs } => {
            configs.iter().try_for_each(|config| call(to, step.found, kind, Command::Del, config))
        }
    }
}

/// Whether an earlier run wrote it already: the nftables form of the reference's `portmap` would be written twice.
fn stands(nft: &mut Nftables, to: &Path, found: &Found, kind: &str, config: &[u8]) -> Result<bool, String> {
    let written = kind == "portmap"
        && reference::portmap::has_rules(nft, &found.attachment.container_id).map_err(|error| error.to_string())?;
    Ok(written && call(to, found, kind, Command::Check, config).is_ok())
}

fn call(to: &Path, found: &Found, kind: &str, command: Command, config: &[u8]) -> Result<(), String> {
    let file = to.join(kind);
    let called = run_file(&file, &to.to_string_lossy(), command, &found.attachment, config);
    called.map(drop).map_err(|error| format!("{} of {}: {error}", command.as_str(), file.display()))
}

fn pod_of(found: &Found) -> Pod<'_> {
    let (container_id, ifname) = (&found.attachment.container_id, &found.attachment.ifname);
    Pod { network: &found.network, container_id, ifname }
}
