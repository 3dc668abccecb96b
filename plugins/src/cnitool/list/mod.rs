//! `cnitool list`: what is attached on this node, one row an attachment, from everything that knows of one: the cache of
//! results, the kernel (our host ends by their alias, our masquerade by its comments) and host-local's leases. What only
//! some of them know is a leftover, and is said to be one.

mod gather;
mod row;
mod table;

use fairlead_protocol::CniError;
use serde_json::{Value, json};

use super::options::List;
use gather::Sources;
pub use gather::{LEASES, data_directories};

/// Looks, and prints. Errors: the cache or the leases cannot be listed, or the output not be written.
pub fn run(asked: &List, config_directory: &std::path::Path) -> Result<(), CniError> {
    let sources = Sources::gather(config_directory)?;
    for trouble in &sources.troubles {
        crate::complain(trouble);
    }
    let mut rows = row::rows(&sources);
    rows.retain(|row| {
        asked.network.as_ref().is_none_or(|network| row.network == *network)
            && asked.container.as_ref().is_none_or(|container| row.container.starts_with(container.as_str()))
    });
    if asked.as_json {
        let rows: Vec<Value> = rows.iter().map(row::Row::to_json).collect();
        super::print(&format!("{:#}\n", json!(rows)))
    } else {
        super::print(&table::table(&rows, fairlead_kernel::terminal::columns()))
    }
}
