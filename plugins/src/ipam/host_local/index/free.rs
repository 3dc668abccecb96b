//! Which addresses are taken, so that the next free one is found in as many steps however many stand in a row.
//!
//! A tree with 256 branches at each node: a block of level 1 says which of 256 addresses are taken, one of level 2 which
//! of its 256 blocks have no free address, and so on. A block that says nothing is not there. The search goes up until
//! there is something free behind, and then down: two or three blocks for a /16 that is full but for one.

use std::net::IpAddr;

use super::Distrust;
use super::slot::{Address, Block, bytes_of, ip_of};
use super::table::Table;

/// Notes that an address is taken. Returns how many blocks came to be for that.
pub fn take(table: &mut Table, ip: IpAddr) -> Result<u32, Distrust> {
    let address = bytes_of(ip);
    let mut made = 0;
    for level in 1..=16 {
        let is_full = match table.block(level, &first_of(level, &address))? {
            Some((place, mut block)) => {
                block.set(number(level, &address), true);
                table.put(place, &block.to_slot())?;
                block.is_full()
            }
            None => {
                let mut block = Block { level, first: first_of(level, &address), bits: [0; 32] };
                block.set(number(level, &address), true);
                table.add_block(block)?;
                made += 1;
                false
            }
        };
        if !is_full {
            break;
        }
    }
    Ok(made)
}

/// Notes that an address is free. Returns how many blocks went away for that.
pub fn free(table: &mut Table, ip: IpAddr) -> Result<u32, Distrust> {
    let address = bytes_of(ip);
    let mut gone = 0;
    for level in 1..=16 {
        let found = table.block(level, &first_of(level, &address))?;
        let (place, mut block) = found.ok_or(Distrust("a lease has no block"))?;
        let was_full = block.is_full();
        block.set(number(level, &address), false);
        if block.is_empty() {
            table.put(place, &[0; super::slot::SIZE])?;
            gone += 1;
        } else {
            table.put(place, &block.to_slot())?;
        }
        if !was_full {
            break;
        }
    }
    Ok(gone)
}

/// The first free address from `from` to `to`, both included.
pub fn next(table: &mut Table, from: IpAddr, to: IpAddr) -> Result<Option<IpAddr>, Distrust> {
    let (mut level, mut address) = (1, bytes_of(from));
    // Up: past the end of everything that has nothing free behind the address.
    let (mut level, mut address) = loop {
        let start = number(level, &address);
        let free = match table.block(level, &first_of(level, &address))? {
            None => Some(start),
            Some((_, block)) => block.free_from(start),
        };
        if let Some(number) = free {
            break (level, at(level, &address, number));
        }
        // Behind the last neighbour: the next one, one level up.
        match after(level, &address) {
            Some(next) if level < 16 => (level, address) = (level + 1, next),
            _ => return Ok(None),
        }
        if address > bytes_of(to) {
            return Ok(None);
        }
    };
    // Down: what is not full has something free.
    while level > 1 {
        level -= 1;
        let free = match table.block(level, &address)? {
            None => 0,
            Some((_, block)) => block.free_from(0).ok_or(Distrust("a block is full and its parent says otherwise"))?,
        };
        address = at(level, &address, free);
    }
    Ok((address <= bytes_of(to)).then(|| ip_of(address)))
}

/// The first address of the block of level 1 that an address is in.
pub fn block_of(ip: IpAddr) -> Address {
    first_of(1, &bytes_of(ip))
}

/// The neighbour that an address is, or is in.
fn number(level: u8, address: &Address) -> u8 {
    address[16 - usize::from(level)]
}

/// The first address of the block of this level that an address is in.
fn first_of(level: u8, address: &Address) -> Address {
    let mut first = *address;
    first[16 - usize::from(level)..].fill(0);
    first
}

/// The first address of a neighbour.
fn at(level: u8, address: &Address, number: u8) -> Address {
    let mut first = first_of(level, address);
    first[16 - usize::from(level)] = number;
    // On level 1 that is the address.
    first
}

/// The first address behind the block of this level that an address is in.
fn after(level: u8, address: &Address) -> Option<Address> {
    let last = u128::from_be_bytes(first_of(level, address)) | 1u128.checked_shl(u32::from(level) * 8)?.wrapping_sub(1);
    last.checked_add(1).map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests;
