//! What one lease file says: an address, whose it is, and which file that was.

use std::fs::Metadata;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;

use sha2::{Digest, Sha256};

/// Whose a lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub container_id: String,
    pub ifname: String,
}

/// What an index knows a text by: the beginning of its SHA-256.
pub type Key = [u8; 16];

/// Which file it was: a name may be given to another one, an inode number too, but not with the same time of change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    pub inode: u64,
    /// `st_ctime`, seconds and nanoseconds.
    pub seconds: i64,
    pub nanoseconds: u32,
}

/// One address that is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub ip: IpAddr,
    /// Name of the file, which need not be the canonical text of the address.
    pub name: String,
    /// Text of the file, without white space at its ends. `None`: something that cannot be read stands there. Its
    /// address is taken, by whom nobody knows, and it is never removed.
    pub text: Option<String>,
    pub stamp: Stamp,
}

impl Owner {
    /// What the reference writes into a lease.
    pub fn text(&self) -> String {
        format!("{}\r\n{}", self.container_id, self.ifname)
    }

    /// What an index knows this attachment by, and what it knows leases of the old format by: those name no interface.
    pub fn keys(&self) -> (Key, Key) {
        (key(&self.text()), key(&self.container_id))
    }
}

impl From<&Metadata> for Stamp {
    fn from(found: &Metadata) -> Stamp {
        let nanoseconds = u32::try_from(found.ctime_nsec()).unwrap_or_default();
        Stamp { inode: found.ino(), seconds: found.ctime(), nanoseconds }
    }
}

impl Lease {
    /// The lease that a file of this name and content is. `None`: the name is no address.
    pub fn new(name: &str, content: Option<&[u8]>, stamp: Stamp) -> Option<Lease> {
        let ip = name.parse::<IpAddr>().ok()?.to_canonical();
        Some(Lease { ip, name: name.to_owned(), text: content.map(text_of), stamp })
    }

    /// True for a lease of this attachment; a lease of the old format says only the container.
    pub fn belongs_to(&self, owner: &Owner) -> bool {
        self.names(owner) || self.names_only_the_container(owner)
    }

    /// True when nobody's name is in the file: what a crash of the reference or a power failure leaves of one.
    pub fn is_nobodys(&self) -> bool {
        self.text.as_deref() == Some("")
    }

    /// True for a lease of the old format, which names no interface.
    pub fn is_old_format(&self) -> bool {
        self.text.as_deref().is_some_and(|text| !text.contains("\r\n"))
    }

    /// False for a name that means the same address as its canonical text, but is another one: `FD00::2`.
    pub fn has_canonical_name(&self) -> bool {
        self.name == self.ip.to_string()
    }

    /// Container and interface as the file names them; the interface is empty in the old format.
    pub fn parts(&self) -> (&str, &str) {
        let text = self.text.as_deref().unwrap_or_default();
        text.split_once("\r\n").unwrap_or((text, ""))
    }

    /// True for exactly this attachment.
    pub fn names(&self, owner: &Owner) -> bool {
        self.text.as_ref().is_some_and(|text| *text == owner.text())
    }

    /// True for a lease of the old format of this container.
    pub fn names_only_the_container(&self, owner: &Owner) -> bool {
        self.text.as_ref() == Some(&owner.container_id)
    }
}

/// The text of a lease file. Bytes of zero are what some file systems leave where data had not yet been written when the
/// power went.
pub fn text_of(content: &[u8]) -> String {
    String::from_utf8_lossy(content).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()
}

/// What an index knows a text by.
pub fn key(text: &str) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(&Sha256::digest(text)[..16]);
    key
}
