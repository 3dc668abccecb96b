//! One write each, or many of a kind with one call.

use anyhow::Result;
use fairlead_proxy_model::{Entry, MapOp};

use crate::maps::Maps;

/// Whether the order of two writes does not matter and the kernel takes both in one call.
pub fn can_share_a_call(one: &MapOp, next: &MapOp) -> bool {
    use MapOp::{PutAddress, PutFrontend};
    matches!((one, next), (PutFrontend { .. }, PutFrontend { .. }) | (PutAddress { .. }, PutAddress { .. }))
}

/// All of a run of writes that share a call. After an error some are done, and each may be done again.
pub fn write_together<M: Maps>(maps: &mut M, run: &[(Entry, MapOp)]) -> Result<()> {
    let (mut frontends, mut addresses) = (Vec::new(), Vec::new());
    for (_, op) in run {
        match op {
            MapOp::PutFrontend { key, value } => frontends.push((*key, *value)),
            MapOp::PutAddress { addr, value } => addresses.push((*addr, *value)),
            other => write(maps, other)?,
        }
    }
    if !frontends.is_empty() {
        maps.put_frontends(&frontends)?;
    }
    if !addresses.is_empty() {
        maps.put_addresses(&addresses)?;
    }
    Ok(())
}

pub fn write<M: Maps>(maps: &mut M, op: &MapOp) -> Result<()> {
    match op {
        MapOp::PutBackends { base, backends } => maps.put_backends(*base, backends),
        MapOp::SwitchSet { slot, word } => maps.switch_set(*slot, *word),
        MapOp::PutFrontend { key, value } => maps.put_frontend(key, value),
        MapOp::DeleteFrontend { key } => maps.delete_frontend(key),
        MapOp::PutRange { key, tag } => maps.put_range(key, *tag),
        MapOp::DeleteRange { key } => maps.delete_range(key),
        MapOp::SetOptions { slot, word } => maps.set_options(*slot, *word),
        MapOp::PutAddress { addr, value } => maps.put_address(addr, *value),
        MapOp::DeleteAddress { addr } => maps.delete_address(addr),
        MapOp::ClearSlot { slot } => maps.clear_slot(*slot),
    }
}
