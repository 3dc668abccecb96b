//! Cutting a datagram into netlink messages, and reading the kernel's acknowledgements.

use crate::error::{Cause, Errno};

/// Length of `struct nlmsghdr` (include/uapi/linux/netlink.h).
pub(crate) const NLMSG_HEADER_LEN: usize = 16;

/// Types that every netlink protocol has (include/uapi/linux/netlink.h).
pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;

const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// One message of a datagram: the header's fields in host byte order, and what follows the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub payload: &'a [u8],
}

/// The messages of a datagram, in order. A length that does not fit ends the iteration with an error.
pub(crate) fn frames(mut datagram: &[u8]) -> impl Iterator<Item = Result<Frame<'_>, Cause>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut datagram);
        let length = rest.first_chunk::<4>().map_or(0, |bytes| u32::from_ne_bytes(*bytes)) as usize;
        if length < NLMSG_HEADER_LEN || length > rest.len() {
            return Some(Err(Cause::Unexpected(format!(
                "the kernel sent a netlink message of {length} bytes in {} left of the datagram",
                rest.len()
            ))));
        }
        let half = |at: usize| u16::from_ne_bytes([rest[at], rest[at + 1]]);
        let frame = Frame {
            kind: half(4),
            flags: half(6),
            sequence: u32::from_ne_bytes([rest[8], rest[9], rest[10], rest[11]]),
            payload: &rest[NLMSG_HEADER_LEN..length],
        };
        datagram = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok(frame))
    })
}

impl Frame<'_> {
    /// What an `NLMSG_ERROR` says: `Ok` is an acknowledgement. The extended-ack text is taken along.
    pub(crate) fn acknowledgement(&self) -> Result<(), Cause> {
        let code = self.payload.first_chunk::<4>().map(|bytes| i32::from_ne_bytes(*bytes));
        match code {
            Some(0) => Ok(()),
            Some(code) => {
                // The text follows the echo of our message: all of it, or its header alone if the kernel capped it.
                let echoed = match self.payload.get(4..8) {
                    Some(length) if self.flags & NLM_F_CAPPED == 0 => {
                        u32::from_ne_bytes([length[0], length[1], length[2], length[3]]) as usize
                    }
                    _ => NLMSG_HEADER_LEN,
                };
                let text = (self.flags & NLM_F_ACK_TLVS != 0)
                    .then(|| self.payload.get(4 + echoed.next_multiple_of(4)..))
                    .flatten();
                Err(refusal(code, text))
            }
            None => Err(Cause::Unexpected("the kernel sent an acknowledgement without a code".into())),
        }
    }

    /// What an `NLMSG_DONE` says: a dump can end in an error (netlink_dump_done, net/netlink/af_netlink.c).
    pub(crate) fn done(&self) -> Result<(), Cause> {
        match self.payload.first_chunk::<4>().map(|bytes| i32::from_ne_bytes(*bytes)) {
            None => Ok(()),
            Some(code) if code >= 0 => Ok(()),
            Some(code) => Err(refusal(code, self.payload.get(4..))),
        }
    }
}

fn refusal(code: i32, attributes: Option<&[u8]>) -> Cause {
    let explanation = attributes.and_then(|attributes| {
        let (_, text) = attributes_of(attributes).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)?;
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        Some(String::from_utf8_lossy(text).into_owned())
    });
    Cause::Refused { errno: Errno::from_raw(code.saturating_neg()), explanation }
}

/// The attributes in `bytes` as (type without flags, value); ends quietly at the first that does not fit.
pub(crate) fn attributes_of(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let rest = bytes;
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk::<2>()?));
        let kind = u16::from_ne_bytes([*rest.get(2)?, *rest.get(3)?]) & 0x3fff;
        let value = rest.get(4..length)?;
        bytes = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = ((NLMSG_HEADER_LEN + payload.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(7u32.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_datagram_is_cut_at_the_aligned_lengths() {
        let mut datagram = message(16, 2, b"abc");
        datagram.extend(message(3, 0, &0i32.to_ne_bytes()));
        let kinds: Vec<_> = frames(&datagram).map(|frame| frame.unwrap().kind).collect();
        assert_eq!(kinds, [16, 3]);
        assert_eq!(frames(&datagram).next().unwrap().unwrap().payload, b"abc");
    }

    #[test]
    fn a_length_that_lies_is_an_error_and_never_a_panic() {
        for length in [0u32, 15, 17, u32::MAX] {
            let mut datagram = message(16, 0, b"");
            datagram[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(frames(&datagram).next().unwrap().is_err(), "{length}");
        }
        assert!(frames(&[1, 2]).next().unwrap().is_err());
    }

    #[test]
    fn the_kernels_own_words_are_kept() {
        let mut payload = (-22i32).to_ne_bytes().to_vec();
        payload.extend([0; NLMSG_HEADER_LEN]);
        payload.extend(12u16.to_ne_bytes());
        payload.extend(NLMSGERR_ATTR_MSG.to_ne_bytes());
        payload.extend(b"bad mtu\0");
        let datagram = message(2, NLM_F_CAPPED | NLM_F_ACK_TLVS, &payload);
        let cause = frames(&datagram).next().unwrap().unwrap().acknowledgement().unwrap_err();
        assert_eq!(cause.to_string(), "Invalid argument (EINVAL): bad mtu");
    }
}
