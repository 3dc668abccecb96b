//! `conditionsV4` and `conditionsV6`: which packets are meant besides those that ask for the port.
//!
//! The reference hands them to `iptables` or `nft` as they are. Here both languages are read, and what is said in the terms
//! that people use is said in nf_tables' own. What is not known is refused: a condition that is left out would open a port
//! to those it was to be kept from.

mod iptables;
mod nftables;
mod value;

use fairlead_kernel::nft::{Condition, Conditions, Term};
use fairlead_protocol::CniError;

/// The language a list is in, by its first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Begins with an option or a `!`.
    Iptables,
    /// Anything else.
    Nftables,
}

/// In how many rules a list may end: each word with several values multiplies them.
const ALTERNATIVES: usize = 256;

/// The language of a list; `None`: it says nothing.
pub fn language(words: &[String]) -> Option<Language> {
    match words.iter().find_map(|word| word.chars().next())? {
        '-' | '!' => Some(Language::Iptables),
        _ => Some(Language::Nftables),
    }
}

/// A list of the key `field`, for IPv4 or IPv6. Errors: code 7, with the word that cannot be translated.
pub fn parse(field: &str, words: &[String], v4: bool) -> Result<Conditions, CniError> {
    let words: Vec<String> = words.iter().filter(|word| !word.is_empty()).cloned().collect();
    let choices = match language(&words) {
        None => return Ok(Conditions::default()),
        Some(Language::Iptables) => iptables::parse(&words, v4),
        Some(Language::Nftables) => nftables::parse(&words.join(" "), v4),
    };
    let refuse = |reason: String| CniError::config(format!("{field} {words:?}: {reason}"));
    multiply(&choices.map_err(refuse)?).map_err(refuse)
}

/// Terms of which one must hold. All choices of a list must.
type Choice = Vec<Condition>;

/// Several values in one word: one of them, or, negated, none of them.
fn choose(terms: Vec<Term>, negated: bool) -> Vec<Choice> {
    let conditions = terms.into_iter().map(|term| Condition { term, negated });
    match negated {
        true => conditions.map(|one| vec![one]).collect(),
        false => vec![conditions.collect()],
    }
}

/// Every way to fulfil all choices. No choice: nothing is asked.
fn multiply(choices: &[Choice]) -> Result<Conditions, String> {
    if choices.is_empty() {
        return Ok(Conditions::default());
    }
    let mut all: Vec<Vec<Condition>> = vec![Vec::new()];
    for choice in choices {
        if all.len() * choice.len() > ALTERNATIVES {
            return Err(format!(
                "its lists of values make more than {ALTERNATIVES} combinations: say it with fewer, larger networks"
            ));
        }
        all = all
            .iter()
            .flat_map(|before| {
                choice.iter().map(|one| before.iter().chain(std::iter::once(one)).cloned().collect::<Vec<_>>())
            })
            .collect();
    }
    Ok(Conditions(all))
}

#[cfg(test)]
mod tests;
