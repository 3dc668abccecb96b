//! What stands in the tables of iptables: `FORWARD` leads to `CNI-FORWARD`, which asks the administrator's chain and then
//! accepts what bears our mark.
//!
//! The names, the order and the comments of the jumps are the reference's, which finds its own here and adds its rules beside
//! ours. Matches are written as x_tables' own: iptables before 1.8.8 reads a `meta mark` of nf_tables as no match at all, and
//! would save a rule that accepts everything.

use std::net::IpAddr;

use super::Admission;
use super::table::{ADMITTED, MASK};
use crate::error::{Cause, Errno};
use crate::nft::expression::{Expressions, Load};
use crate::nft::rule::Rule;
use crate::nft::socket::Nftables;
use crate::nft::table::{Base, Family, Hook, Policy, Table, Verdict};
use crate::nft::transaction::Transaction;

const FORWARD: &str = "FORWARD";
pub(crate) const PODS_CHAIN: &str = "CNI-FORWARD";
pub(crate) const JUMP: &str = "CNI firewall plugin rules";
pub(crate) const ADMIN: &str = "CNI firewall plugin admin overrides";
/// By this our rule is found, in whatever form somebody restored it.
pub(crate) const ACCEPTANCE: &str = "Fairlead: what pods send, and what is answered to them";

/// How a rule says its matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As iptables-nft does.
    Iptables,
    /// As nft does: for a kernel without x_tables, where no iptables can be.
    Native,
}

/// The tables of iptables that an admission needs: those of its addresses' families.
pub(super) fn tables(addresses: &[IpAddr]) -> impl Iterator<Item = Table> {
    let [v4, v6] = [IpAddr::is_ipv4, IpAddr::is_ipv6].map(|family| addresses.iter().any(family));
    let both = [(v4, Family::Ip), (v6, Family::Ip6)];
    both.into_iter().filter(|(wanted, _)| *wanted).map(|(_, family)| filter(family))
}

fn filter(family: Family) -> Table {
    Table::new(family, "filter")
}

/// What stands there of ours.
pub(super) struct Standing {
    /// The rules of `CNI-FORWARD`.
    rules: Vec<Rule>,
    /// Those of `FORWARD` that lead to it.
    pub(super) jumps: Vec<Rule>,
}

impl Standing {
    /// The place of the jump to the administrator's chain.
    pub(super) fn admin(&self, chain: &str) -> Option<usize> {
        self.rules.iter().position(|rule| is_jump(rule, chain))
    }

    /// The place of our acceptance.
    pub(super) fn accept(&self) -> Option<usize> {
        self.rules.iter().position(accepts)
    }

    /// What of ours stands there once more than it need: two who were overtaken made it at once.
    fn twice(&self) -> impl Iterator<Item = &Rule> {
        let with = |comment: &'static str| move |rule: &&Rule| rule.comment.as_deref() == Some(comment);
        let jumps = self.jumps.iter().filter(with(JUMP)).skip(1);
        let admins = self.rules.iter().filter(with(ADMIN)).skip(1);
        jumps.chain(admins).chain(self.rules.iter().filter(|rule| accepts(rule)).skip(1))
    }
}

impl Nftables {
    pub(super) fn standing(&mut self, table: Table) -> Result<Standing, Cause> {
        let jumps = self.rules(table, Some(FORWARD))?.into_iter().filter(|rule| is_jump(rule, PODS_CHAIN)).collect();
        Ok(Standing { rules: self.rules(table, Some(PODS_CHAIN))?, jumps })
    }

    /// What makes the chains lead where they should; nothing, if they do. With `once`, also what is there twice goes.
    pub(super) fn lay_chains(
        &mut self,
        mut all: Transaction,
        wanted: &Admission,
        form: Form,
        once: bool,
    ) -> Result<Transaction, Cause> {
        let Some(admin) = &wanted.admin_chain else { return Ok(all) };
        for table in tables(&wanted.addresses) {
            let standing = self.standing(table)?;
            if once {
                all = standing.twice().fold(all, |all, rule| all.delete_rule(table, &rule.chain, rule.handle));
            }
            let (has_admin, has_accept) = (standing.admin(admin).is_some(), standing.accept().is_some());
            if !standing.jumps.is_empty() && has_admin && has_accept {
                continue;
            }
            all = all.ensure_table(table);
            // A chain that is there has its policy from somebody else.
            if !self.exists(table, Some(FORWARD))? {
                all = all.new_base_chain(table, FORWARD, Base::filter(Hook::Forward, 0));
            }
            all = all.ensure_chain(table, PODS_CHAIN).ensure_chain(table, admin);
            if standing.jumps.is_empty() {
                all = all.insert_rule(table, FORWARD, &jump(form, JUMP, PODS_CHAIN));
            }
            if !has_admin {
                all = all.insert_rule(table, PODS_CHAIN, &jump(form, ADMIN, admin));
            }
            if !has_accept {
                all = all.append_rule(table, PODS_CHAIN, &accept(form));
            }
        }
        Ok(all)
    }

    /// Whether the kernel takes matches of x_tables: a table with such a rule is made and taken away in one transaction.
    pub(super) fn takes_matches(&mut self) -> Result<bool, Cause> {
        const PROBE: Table = Table::new(Family::Ip, "fairlead_firewall_probe");
        let probe = Transaction::default()
            .ensure_table(PROBE)
            .ensure_chain(PROBE, PODS_CHAIN)
            .append_rule(PROBE, PODS_CHAIN, &accept(Form::Iptables))
            .delete_table(PROBE);
        match self.commit(&probe) {
            Ok(()) => Ok(true),
            Err(cause) if matches!(cause.errno(), Some(Errno::ENOENT | Errno::EOPNOTSUPP)) => Ok(false),
            Err(cause) => Err(cause),
        }
    }

    /// What also takes away our rule, and the chains that hold nobody else's.
    pub(super) fn without_chains(&mut self, mut all: Transaction) -> Result<Transaction, Cause> {
        for table in [Family::Ip, Family::Ip6].map(filter) {
            if !self.exists(table, Some(PODS_CHAIN))? {
                continue;
            }
            let Standing { rules, jumps } = self.standing(table)?;
            let delete = |all: Transaction, rule: &Rule| all.delete_rule(table, &rule.chain, rule.handle);
            all = rules.iter().filter(|rule| accepts(rule)).fold(all, delete);
            let is_admin = |rule: &Rule| rule.comment.as_deref() == Some(ADMIN) && rule.leads_to().is_some();
            let ours = rules.iter().all(|rule| accepts(rule) || is_admin(rule));
            let chains = self.chains(table)?;
            let uses = |name: &str| chains.iter().find(|chain| chain.name == name).map(|chain| chain.uses);
            // Somebody else's rule leads here too.
            if !ours || uses(PODS_CHAIN) != Some((rules.len() + jumps.len()) as u32) {
                continue;
            }
            all = rules.iter().filter(|rule| is_admin(rule)).chain(&jumps).fold(all, delete);
            all = all.delete_chain(table, PODS_CHAIN);
            let mut left: Vec<_> = chains.iter().filter(|chain| chain.name != PODS_CHAIN).collect();
            // An administrator's chain stays with the first rule that he wrote.
            for admin in rules.iter().filter(|rule| is_admin(rule)).filter_map(Rule::leads_to) {
                if uses(admin) == Some(1) {
                    all = all.delete_chain(table, admin);
                    left.retain(|chain| chain.name != admin);
                }
            }
            // A table with nothing but a `FORWARD` that says nothing says nothing.
            if let [forward] = left[..]
                && forward.name == FORWARD
                && forward.policy == Some(Policy::Accept)
                && forward.uses == jumps.len() as u32
                && self.table_uses(table)? == Some(chains.len() as u32)
            {
                all = all.delete_table(table);
            }
        }
        Ok(all)
    }
}

/// A rule that leads to `chain`, whatever the packet.
fn is_jump(rule: &Rule, chain: &str) -> bool {
    let for_all = rule.expressions.iter().all(|one| ["comment", "counter", "immediate"].contains(&&one[..]));
    for_all && rule.verdict == Some(Verdict::Jump(chain.to_owned()))
}

fn accepts(rule: &Rule) -> bool {
    rule.comment.as_deref() == Some(ACCEPTANCE) && rule.verdict == Some(Verdict::Accept)
}

fn jump(form: Form, comment: &str, chain: &str) -> Expressions {
    commented(form, Expressions::default(), comment).counter().verdict(&Verdict::Jump(chain.to_owned()))
}

fn accept(form: Form) -> Expressions {
    let rule = Expressions::default();
    let rule = match form {
        // struct xt_mark_mtinfo1 (include/uapi/linux/netfilter/xt_mark.h): mark, mask, invert.
        Form::Iptables => {
            let info = [&ADMITTED.to_ne_bytes()[..], &MASK.to_ne_bytes(), &[0; 4]].concat();
            rule.xt_match("mark", 1, &info)
        }
        Form::Native => rule.masked(Load::Mark, &MASK.to_ne_bytes(), &ADMITTED.to_ne_bytes(), false),
    };
    commented(form, rule, ACCEPTANCE).counter().verdict(&Verdict::Accept)
}

fn commented(form: Form, rule: Expressions, comment: &str) -> Expressions {
    match form {
        Form::Iptables => rule.xt_comment(comment),
        Form::Native => rule.comment(comment),
    }
}
