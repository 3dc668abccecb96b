//! Attributes and nests of nf_tables messages, written one after the other.
//!
//! Numbers in nf_tables attributes are big endian, unlike rtnetlink's.

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// `NFTA_LIST_ELEM`.
pub(super) const LIST_ELEM: u16 = 1;
/// `NFTA_DATA_VALUE` and `NFTA_DATA_VERDICT`.
pub(super) const DATA_VALUE: u16 = 1;
pub(super) const DATA_VERDICT: u16 = 2;
/// `NFTNL_UDATA_RULE_COMMENT` and `NFTNL_UDATA_SET_ELEM_COMMENT` (libnftnl): what `nft` shows as a comment.
const COMMENT: u8 = 0;
/// What `nft` reads of a comment at the most, without the zero at its end.
pub const COMMENT_MAX: usize = 128;

/// Attributes, one after the other.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Attributes(pub(crate) Vec<u8>);

impl Attributes {
    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // An attribute's length is 16 bits; all that is written here is names, addresses and rules of known size.
        let length = u16::try_from(4 + value.len()).expect("a netfilter attribute of this module fits 64 KiB");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn nest(self, kind: u16, inner: &Attributes) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }

    /// `struct nft_data` that is a value.
    pub(super) fn data(self, kind: u16, value: &[u8]) -> Self {
        self.nest(kind, &Attributes::default().bytes(DATA_VALUE, value))
    }

    /// The comment as user data of a rule or an element, cut at [`COMMENT_MAX`] bytes.
    pub(super) fn comment(self, kind: u16, comment: &str) -> Self {
        let mut end = comment.len().min(COMMENT_MAX);
        while !comment.is_char_boundary(end) {
            end -= 1;
        }
        let mut user = vec![COMMENT, end as u8 + 1];
        user.extend(&comment.as_bytes()[..end]);
        user.push(0);
        self.bytes(kind, &user)
    }
}

/// The comment in the user data of a rule or an element, if there is one.
pub(super) fn comment_of(user: &[u8]) -> Option<String> {
    let mut rest = user;
    while let [kind, length, more @ ..] = rest {
        let value = more.get(..usize::from(*length))?;
        if *kind == COMMENT {
            return Some(text_of(value));
        }
        rest = &more[value.len()..];
    }
    None
}

/// Text up to its first zero byte.
pub(super) fn text_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A big-endian number of four bytes.
pub(super) fn number_of(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_aligned_and_say_their_length_without_the_padding() {
        let bytes = Attributes::default().text(3, "ab").number(1, 7).0;
        assert_eq!(bytes, [7, 0, 3, 0, b'a', b'b', 0, 0, 8, 0, 1, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn a_nest_has_its_flag() {
        let bytes = Attributes::default().nest(4, &Attributes::default().bytes(1, &[9])).0;
        assert_eq!(bytes, [12, 0, 4, 0x80, 5, 0, 1, 0, 9, 0, 0, 0]);
    }

    #[test]
    fn a_comment_is_found_behind_other_user_data_and_a_cut_one_is_none() {
        assert_eq!(comment_of(&[3, 1, 9, COMMENT, 3, b'h', b'i', 0]), Some("hi".to_owned()));
        assert_eq!(comment_of(&[COMMENT, 9, b'h']), None);
        assert_eq!(comment_of(&[]), None);
    }
}
