//! The token bucket filter: so many bytes a second, with bursts.

use super::message::{self, KIND, OPTIONS, ROOT, RTM_DELQDISC, RTM_GETQDISC, RTM_NEWQDISC, Tcmsg};
use crate::error::{Error, Result};
use crate::netlink::{REPLACE, Socket, attributes_of};
use crate::nft::attributes::Attributes;

/// `TCA_TBF_PARMS`, `TCA_TBF_RATE64`, `TCA_TBF_BURST` (include/uapi/linux/pkt_sched.h).
const PARMS: u16 = 1;
const RATE64: u16 = 4;
const BURST: u16 = 6;

/// `struct tc_tbf_qopt`: two `struct tc_ratespec` of 12 bytes, then limit, buffer, mtu.
const QOPT_LEN: usize = 36;

/// Handle of the discipline: `1:`.
const HANDLE: u32 = 1 << 16;

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tbf {
    /// Bytes a second, not 0.
    pub rate: u64,
    /// Size of the bucket in bytes, not 0: what may leave at once. A packet larger than it never leaves.
    pub burst: u32,
    /// Bytes that may wait; what comes on top is dropped.
    pub limit: u32,
}

/// The discipline at a link's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// `tbf`, `fq_codel`.
    pub kind: String,
    /// Rate and limit as in [`Tbf`], and the bucket in ticks of 64 ns at that rate, where it is one.
    pub tbf: Option<(u64, u32, u32)>,
}

impl Tbf {
    /// The bucket as the kernel measures it: in ticks of 64 ns (`PSCHED_SHIFT` 6, include/net/pkt_sched.h; the same in
    /// `/proc/net/psched` since 2.6.31), cut to whole microseconds first as tc(8) and everybody after it does. `None` when 32
    /// bits cannot hold it: then the kernel is told the bytes.
    pub fn ticks(&self) -> Option<u32> {
        let microseconds = u128::from(self.burst) * 1_000_000 / u128::from(self.rate.max(1));
        u32::try_from(microseconds * 125 / 8).ok()
    }

    /// Whether this is what the link's root does.
    pub fn is(&self, root: &Root) -> bool {
        root.tbf.is_some_and(|(rate, limit, ticks)| {
            rate == self.rate && limit == self.limit && self.ticks().is_none_or(|mine| mine == ticks)
        })
    }

    fn options(&self) -> Attributes {
        let mut qopt = [0u8; QOPT_LEN];
        let small_rate = u32::try_from(self.rate);
        qopt[8..12].copy_from_slice(&small_rate.unwrap_or(u32::MAX).to_ne_bytes());
        qopt[24..28].copy_from_slice(&self.limit.to_ne_bytes());
        qopt[28..32].copy_from_slice(&self.ticks().unwrap_or(u32::MAX).to_ne_bytes());
        let mut options = Attributes::default().bytes(PARMS, &qopt);
        if small_rate.is_err() {
            options = options.bytes(RATE64, &self.rate.to_ne_bytes());
        }
        if self.ticks().is_none() {
            options = options.bytes(BURST, &self.burst.to_ne_bytes());
        }
        options
    }
}

/// Makes the bucket the link's root, whatever that was.
pub fn set_root(socket: &mut Socket, link: u32, tbf: &Tbf) -> Result<()> {
    let attributes = Attributes::default().text(KIND, "tbf").nest(OPTIONS, &tbf.options());
    let tcmsg = Tcmsg { link, handle: HANDLE, parent: ROOT, ..Tcmsg::default() };
    message::execute(socket, RTM_NEWQDISC, REPLACE, tcmsg, &attributes.0)
        .map_err(|cause| Error::new("set tbf on link", format_args!("number {link}"), cause))
}

/// Gives the link its default root again. Errors: [`Error::is_not_found`] if it has it.
pub fn delete_root(socket: &mut Socket, link: u32) -> Result<()> {
    let tcmsg = Tcmsg { link, parent: ROOT, ..Tcmsg::default() };
    message::execute(socket, RTM_DELQDISC, 0, tcmsg, &[])
        .map_err(|cause| Error::new("delete root qdisc of link", format_args!("number {link}"), cause))
}

/// The link's root; `None` if it is the kernel's own (`noqueue`). Errors: [`Error::is_not_found`] if there is no such link.
pub fn root(socket: &mut Socket, link: u32) -> Result<Option<Root>> {
    let tcmsg = Tcmsg { link, parent: ROOT, ..Tcmsg::default() };
    message::get(socket, RTM_GETQDISC, tcmsg, read_root)
        .map_err(|cause| Error::new("get root qdisc of link", format_args!("number {link}"), cause))
}

pub(super) fn read_root(payload: &[u8]) -> Option<Root> {
    let (_, kind, options) = message::read(payload)?;
    // Not a discipline but the lack of one; some kernels say so, some say nothing.
    if kind == "noqueue" {
        return None;
    }
    let tbf = (kind == "tbf").then(|| read_tbf(options)).flatten();
    Some(Root { kind, tbf })
}

fn read_tbf(options: &[u8]) -> Option<(u64, u32, u32)> {
    let find = |wanted| attributes_of(options).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let qopt = find(PARMS).filter(|qopt| qopt.len() >= QOPT_LEN)?;
    let number = |at: usize| u32::from_ne_bytes([qopt[at], qopt[at + 1], qopt[at + 2], qopt[at + 3]]);
    let large = find(RATE64).and_then(|value| value.try_into().ok()).map(u64::from_ne_bytes);
    Some((large.unwrap_or(u64::from(number(8))), number(24), number(28)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_counted_in_ticks_of_64_nanoseconds_and_whole_microseconds() {
        let tbf = |rate, burst| Tbf { rate, burst, limit: 0 };
        // The numbers of the reference's tests: 8 bit/s with 8 bits, and 1 Gbit/s with 1 Gbit.
        assert_eq!(tbf(1, 1).ticks(), Some(15_625_000));
        assert_eq!(tbf(125_000_000, 125_000_000).ticks(), Some(15_625_000));
        assert_eq!(tbf(3, 1).ticks(), Some(333_333 * 125 / 8));
        // What containerd asks for: 2^32 - 1 bits at 1 Mbit/s are over an hour.
        assert_eq!(tbf(125_000, u32::MAX / 8).ticks(), None);
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let read = |tbf: Tbf| read_tbf(&tbf.options().0).map(|found| Root { kind: "tbf".into(), tbf: Some(found) });
        for tbf in [
            Tbf { rate: 1, burst: 1, limit: 2 },
            Tbf { rate: 125_000, burst: u32::MAX / 8, limit: u32::MAX },
            Tbf { rate: 12_500_000_000, burst: 1 << 20, limit: 7 },
        ] {
            assert!(tbf.is(&read(tbf).unwrap()), "{tbf:?}");
            assert!(!Tbf { rate: tbf.rate + 1, ..tbf }.is(&read(tbf).unwrap()));
            assert!(!Tbf { limit: tbf.limit - 1, ..tbf }.is(&read(tbf).unwrap()));
        }
        assert!(!Tbf { rate: 1, burst: 2, limit: 2 }.is(&read(Tbf { rate: 1, burst: 1, limit: 2 }).unwrap()));
        assert_eq!((read_tbf(&[]), read_tbf(&[8, 0, 1, 0, 1, 2, 3, 4])), (None, None));
    }
}
