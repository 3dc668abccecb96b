//! The names of an attachment's ifb.
//!
//! The reference derives one from network and container: a second interface of the same container in the same network finds
//! it taken, and fails. Ours has that name where it is free, so that either side's DEL finds the other's, and else one
//! in which the interface counts too. Whose an ifb is stands in its alias; the reference's has none.

use std::fmt::Write;

use fairlead_kernel::error::Result;
use fairlead_kernel::link::{self, Link};
use fairlead_kernel::netlink::Socket;
use fairlead_protocol::Request;
use sha2::{Digest, Sha512};

use crate::owner;

/// Its two possible names: the reference's, and the other.
pub fn names(request: &Request) -> [String; 2] {
    let Request { name, container_id, ifname, .. } = request;
    [format!("{name}{container_id}"), format!("{name}{container_id}{ifname}")].map(|text| {
        let mut name = "bwp".to_owned();
        for byte in Sha512::digest(text).iter().take(6) {
            // Writing to a String cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        name
    })
}

/// Whose the ifb of one of the names is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// This attachment's: it says so, or nobody else would have the name.
    Mine,
    /// Made by the reference for this container, or by an ADD of ours that was killed before it could say whose it is.
    Unsaid,
    /// Another attachment's, or no ifb at all.
    Others,
}

/// What is there under the two names.
pub fn find(host: &mut Socket, request: &Request) -> Result<Vec<(Link, Whose)>> {
    let mark = owner::mark(&request.name, &request.container_id, &request.ifname);
    let mut found = Vec::new();
    for (at, name) in names(request).iter().enumerate() {
        match link::get_by_name(host, name) {
            Ok(link) => {
                let whose = whose(&link, &mark, at > 0);
                found.push((link, whose));
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn whose(link: &Link, mark: &str, only_ours: bool) -> Whose {
    match link.alias.as_deref().unwrap_or_default() {
        _ if !link.is("ifb") => Whose::Others,
        "" if only_ours => Whose::Mine,
        "" => Whose::Unsaid,
        alias if owner::is_of(alias, mark) => Whose::Mine,
        _ => Whose::Others,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::specimen;

    #[test]
    fn the_first_name_is_the_references_and_the_second_differs_by_interface() {
        let request = specimen::request(&json!({}), "");
        // printf netid | sha512sum
        assert_eq!(names(&request)[0], "bwp30e7440e95de");
        let other = Request { ifname: "net1".into(), ..request.clone() };
        assert_eq!(names(&other)[0], names(&request)[0]);
        assert_ne!(names(&other)[1], names(&request)[1]);
        assert!(names(&request).iter().all(|name| name.len() == 15));
    }
}
