//! Where a bus listens: `unix:path=/run/x,guid=…;unix:abstract=y` (D-Bus Specification, "Server Addresses").

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The system bus's well-known place.
pub const DEFAULT: &str = "unix:path=/var/run/dbus/system_bus_socket";

/// A socket.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// A file.
    Path(PathBuf),
    /// A name without a file.
    Abstract(Vec<u8>),
}

/// The unix sockets of an address, in order; other transports are left out.
pub fn places(address: &str) -> impl Iterator<Item = Place> {
    address.split(';').filter_map(|one| {
        let keys = one.trim().strip_prefix("unix:")?;
        keys.split(',').find_map(|pair| match pair.split_once('=')? {
            ("path", value) => Some(Place::Path(PathBuf::from(OsString::from_vec(unescape(value)?)))),
            ("abstract", value) => Some(Place::Abstract(unescape(value)?)),
            _ => None,
        })
    })
}

/// `%20` and its like.
fn unescape(value: &str) -> Option<Vec<u8>> {
    let mut bytes = value.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        plain.push(match byte {
            b'%' => u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?,
            byte => byte,
        });
    }
    (!plain.is_empty()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_in_order_and_others_left_out() {
        let address =
            "tcp:host=x,port=1;unix:guid=12,path=/run/a%20b;unix:abstract=/tmp/c,guid=9;unix:path=;unix:path=%4";
        let found: Vec<Place> = places(address).collect();
        assert_eq!(found, [Place::Path("/run/a b".into()), Place::Abstract(b"/tmp/c".to_vec())]);
        assert_eq!(places(DEFAULT).count(), 1);
        assert_eq!(places("").count(), 0);
    }
}
