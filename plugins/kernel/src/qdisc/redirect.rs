//! What comes in by a link goes out by another: the ingress discipline, and its one filter.

use super::message::{
    self, INGRESS, KIND, OPTIONS, RTM_DELQDISC, RTM_DELTFILTER, RTM_GETQDISC, RTM_GETTFILTER, RTM_NEWQDISC,
    RTM_NEWTFILTER, Tcmsg,
};
use crate::error::{Error, Result};
use crate::netlink::{CREATE, Socket, attributes_of};
use crate::nft::attributes::Attributes;

/// Handle of `ingress` and `clsact`, and the parent of the latter's incoming side (`TC_H_MIN_INGRESS`,
/// include/uapi/linux/pkt_sched.h).
const HANDLE: u32 = 0xffff_0000;
const CLSACT_INGRESS: u32 = 0xffff_fff2;

/// `TCA_U32_CLASSID`, `TCA_U32_SEL`, `TCA_U32_ACT`, `TCA_MATCHALL_ACT` (include/uapi/linux/pkt_cls.h).
const U32_CLASSID: u16 = 1;
const U32_SEL: u16 = 5;
const U32_ACT: u16 = 7;
const MATCHALL_ACT: u16 = 2;

/// `TCA_ACT_KIND`, `TCA_ACT_OPTIONS`, `TCA_MIRRED_PARMS`.
const ACT_KIND: u16 = 1;
const ACT_OPTIONS: u16 = 2;
const MIRRED_PARMS: u16 = 2;
/// `TC_ACT_STOLEN`, `TCA_EGRESS_REDIR`, `TC_U32_TERMINAL`.
const STOLEN: i32 = 4;
const EGRESS_REDIR: i32 = 1;
const TERMINAL: u8 = 1;
/// `struct tc_mirred`: `tc_gen` of 20 bytes, what to do, index of the link.
const MIRRED_LEN: usize = 28;

/// Before any other, every protocol (`ETH_P_ALL`).
const PRIORITY: u32 = 1;
const INFO: u32 = PRIORITY << 16 | (3u16.to_be() as u32);

/// The discipline that looks at what comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingress {
    /// `ingress`.
    Plain,
    /// `clsact`: programs of others (eBPF) may be at it.
    Clsact,
}

impl Ingress {
    fn parent(self) -> u32 {
        match self {
            Ingress::Plain => HANDLE,
            Ingress::Clsact => CLSACT_INGRESS,
        }
    }
}

/// Makes the link look at what comes in; says whether it did not do so before. Errors: [`Error::is_exists`] when a discipline
/// that cannot is in its place.
pub fn ensure_ingress(socket: &mut Socket, link: u32) -> Result<(Ingress, bool)> {
    let attributes = Attributes::default().text(KIND, "ingress");
    let tcmsg = Tcmsg { link, handle: HANDLE, parent: INGRESS, ..Tcmsg::default() };
    match message::execute(socket, RTM_NEWQDISC, CREATE, tcmsg, &attributes.0) {
        Ok(()) => Ok((Ingress::Plain, true)),
        Err(cause) => match ingress(socket, link)? {
            Some(found) => Ok((found, false)),
            None => Err(Error::new("create ingress qdisc of link", format_args!("number {link}"), cause)),
        },
    }
}

/// The discipline that looks at what comes in by a link, if there is one.
pub fn ingress(socket: &mut Socket, link: u32) -> Result<Option<Ingress>> {
    let tcmsg = Tcmsg { link, parent: INGRESS, ..Tcmsg::default() };
    let found = message::get(socket, RTM_GETQDISC, tcmsg, |payload| message::read(payload).map(|(_, kind, _)| kind));
    let kind = found.map_err(|cause| Error::new("get ingress qdisc of link", format_args!("number {link}"), cause))?;
    Ok(match kind.as_deref() {
        Some("ingress") => Some(Ingress::Plain),
        Some("clsact") => Some(Ingress::Clsact),
        _ => None,
    })
}

/// Removes the discipline with all its filters. Errors: EINVAL if there is none.
pub fn delete_ingress(socket: &mut Socket, link: u32) -> Result<()> {
    let tcmsg = Tcmsg { link, handle: HANDLE, parent: INGRESS, ..Tcmsg::default() };
    message::execute(socket, RTM_DELQDISC, 0, tcmsg, &[])
        .map_err(|cause| Error::new("delete ingress qdisc of link", format_args!("number {link}"), cause))
}

/// Sends everything that comes in by `link` out by `to`, before any other filter is asked.
pub fn redirect(socket: &mut Socket, link: u32, at: Ingress, to: u32) -> Result<()> {
    let tcmsg = Tcmsg { link, handle: 0, parent: at.parent(), info: INFO };
    message::execute(socket, RTM_NEWTFILTER, CREATE, tcmsg, &filter(to).0)
        .map_err(|cause| Error::new("redirect what comes in by link", format_args!("number {link} to {to}"), cause))
}

/// Removes what [`redirect`] made, wherever it leads; other filters stay.
pub fn delete_redirect(socket: &mut Socket, link: u32, at: Ingress) -> Result<()> {
    let tcmsg = Tcmsg { link, handle: 0, parent: at.parent(), info: INFO };
    message::execute(socket, RTM_DELTFILTER, 0, tcmsg, &Attributes::default().text(KIND, "u32").0)
        .map_err(|cause| Error::new("delete redirect of link", format_args!("number {link}"), cause))
}

/// The links that something of what comes in by `link` is sent to.
pub fn redirects(socket: &mut Socket, link: u32, at: Ingress) -> Result<Vec<u32>> {
    let tcmsg = Tcmsg { link, parent: at.parent(), ..Tcmsg::default() };
    message::dump(socket, RTM_GETTFILTER, tcmsg, redirected)
        .map_err(|cause| Error::new("list filters of link", format_args!("number {link}"), cause))
}

/// A filter of type u32 that matches every packet, as tc(8) writes `match u32 0 0`.
fn filter(to: u32) -> Attributes {
    // struct tc_u32_sel with one struct tc_u32_key, which compares nothing.
    let mut selector = [0u8; 16 + 16];
    selector[0] = TERMINAL;
    selector[2] = 1;
    let mut mirred = [0u8; MIRRED_LEN];
    mirred[8..12].copy_from_slice(&STOLEN.to_ne_bytes());
    mirred[20..24].copy_from_slice(&EGRESS_REDIR.to_ne_bytes());
    mirred[24..28].copy_from_slice(&to.to_ne_bytes());
    let action = Attributes::default()
        .text(ACT_KIND, "mirred")
        .nest(ACT_OPTIONS, &Attributes::default().bytes(MIRRED_PARMS, &mirred));
    let options = Attributes::default()
        .bytes(U32_SEL, &selector)
        .bytes(U32_CLASSID, &0x0001_0001u32.to_ne_bytes())
        .nest(U32_ACT, &Attributes::default().nest(1, &action));
    Attributes::default().text(KIND, "u32").nest(OPTIONS, &options)
}

/// Where a filter sends what it matches, if it does.
pub(super) fn redirected(payload: &[u8]) -> Option<u32> {
    let (_, kind, options) = message::read(payload)?;
    let wanted = match &kind[..] {
        "u32" => U32_ACT,
        "matchall" => MATCHALL_ACT,
        _ => return None,
    };
    let find = |bytes, wanted| attributes_of(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    attributes_of(find(options, wanted)?).find_map(|(_, action)| {
        let is_mirred = find(action, ACT_KIND)?.starts_with(b"mirred\0");
        let mirred = find(find(action, ACT_OPTIONS)?, MIRRED_PARMS).filter(|mirred| mirred.len() >= MIRRED_LEN)?;
        let number = |at: usize| u32::from_ne_bytes([mirred[at], mirred[at + 1], mirred[at + 2], mirred[at + 3]]);
        (is_mirred && number(20) == EGRESS_REDIR as u32).then(|| number(24))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(attributes: &Attributes) -> Vec<u8> {
        let mut payload = vec![0; 20];
        payload.extend(&attributes.0);
        payload
    }

    #[test]
    fn where_a_filter_leads_is_read_back_and_every_other_leads_nowhere() {
        assert_eq!(redirected(&answer(&filter(7))), Some(7));
        assert_eq!(redirected(&answer(&Attributes::default().text(KIND, "bpf"))), None);
        assert_eq!(redirected(&answer(&Attributes::default().text(KIND, "u32"))), None);
        assert_eq!(redirected(&[0; 19]), None);
    }

    #[test]
    fn a_cut_answer_is_none_and_never_a_panic() {
        let whole = answer(&filter(7));
        for length in 0..whole.len() {
            let _ = redirected(&whole[..length]);
        }
    }
}
