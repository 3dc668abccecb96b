//! JSON with the places of its parts: what a configuration says, and in which line it says so. Pure.
//!
//! `serde_json` judges whether a text is JSON; what this reads has passed it. Here only places and repeated keys are kept,
//! which a map of values forgets.

use std::fmt;

/// A place in a file. Both count from one; columns are bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub at: Place,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

/// A key with its value; a key may come more than once.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub key: String,
    pub at: Place,
    pub value: Node,
}

impl Node {
    /// The members of an object; of everything else none.
    pub fn members(&self) -> &[Member] {
        if let What::Object(members) = &self.what { members } else { &[] }
    }

    /// The items of a list; of everything else none.
    pub fn items(&self) -> &[Node] {
        if let What::List(items) = &self.what { items } else { &[] }
    }

    /// The last value under any spelling of `key`, `null` left aside, as plugins read it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.members()
            .iter()
            .rev()
            .find(|member| member.key.eq_ignore_ascii_case(key) && member.value.what != What::Null)
            .map(|member| &member.value)
    }

    /// The last value under exactly this key, as libcni reads a list's own keys.
    pub fn get_exact(&self, key: &str) -> Option<&Node> {
        self.members().iter().rev().find(|member| member.key == key).map(|member| &member.value)
    }

    pub fn text(&self) -> Option<&str> {
        if let What::Text(text) = &self.what { Some(text) } else { None }
    }

    /// True for `true`, and for nothing else.
    pub fn is_true(&self) -> bool {
        self.what == What::Bool(true)
    }

    /// An integer as Go reads one: without point and exponent.
    pub fn integer(&self) -> Option<i64> {
        if let What::Number(digits) = &self.what { digits.parse().ok() } else { None }
    }

    /// The text under a key; empty when there is none.
    pub fn text_of(&self, key: &str) -> &str {
        self.get(key).and_then(Node::text).unwrap_or_default()
    }

    /// The switch under a key.
    pub fn switch(&self, key: &str) -> bool {
        self.get(key).is_some_and(Node::is_true)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Reads a text that is JSON. `None`: it is not.
pub fn read(text: &str) -> Option<Node> {
    let mut reader = Reader { rest: text, at: Place { line: 1, column: 1 } };
    let node = reader.value(0)?;
    reader.blanks();
    reader.rest.is_empty().then_some(node)
}

/// As deep as `serde_json` goes.
const DEEPEST: usize = 128;

struct Reader<'a> {
    rest: &'a str,
    at: Place,
}

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a str> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        for byte in taken.bytes() {
            self.at = match byte {
                b'\n' => Place { line: self.at.line + 1, column: 1 },
                _ => Place { column: self.at.column + 1, ..self.at },
            };
        }
        self.rest = rest;
        Some(taken)
    }

    fn blanks(&mut self) {
        let blanks = self.rest.bytes().take_while(u8::is_ascii_whitespace).count();
        self.take(blanks);
    }

    /// Takes this byte after blanks, if it is next.
    fn mark(&mut self, mark: u8) -> bool {
        self.blanks();
        self.rest.as_bytes().first() == Some(&mark) && self.take(1).is_some()
    }

    fn value(&mut self, depth: usize) -> Option<Node> {
        self.blanks();
        let at = self.at;
        if depth > DEEPEST {
            return None;
        }
        let what = match self.rest.as_bytes().first()? {
            b'{' => What::Object(self.object(depth)?),
            b'[' => What::List(self.list(depth)?),
            b'"' => What::Text(self.string()?),
            b't' => self.word("true", What::Bool(true))?,
            b'f' => self.word("false", What::Bool(false))?,
            b'n' => self.word("null", What::Null)?,
            _ => {
                let in_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let digits = self.rest.bytes().take_while(|byte| in_number(byte)).count();
                What::Number(self.take(digits).filter(|digits| !digits.is_empty())?.to_owned())
            }
        };
        Some(Node { at, what })
    }

    fn word(&mut self, word: &str, what: What) -> Option<What> {
        self.rest.starts_with(word).then_some(())?;
        self.take(word.len())?;
        Some(what)
    }

    fn object(&mut self, depth: usize) -> Option<Vec<Member>> {
        let mut members = Vec::new();
        self.take(1)?;
        if self.mark(b'}') {
            return Some(members);
        }
        loop {
            self.blanks();
            let at = self.at;
            let key = self.string()?;
            self.mark(b':').then_some(())?;
            members.push(Member { key, at, value: self.value(depth + 1)? });
            if self.mark(b'}') {
                return Some(members);
            }
            self.mark(b',').then_some(())?;
        }
    }

    fn list(&mut self, depth: usize) -> Option<Vec<Node>> {
        let mut items = Vec::new();
        self.take(1)?;
        if self.mark(b']') {
            return Some(items);
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.mark(b']') {
                return Some(items);
            }
            self.mark(b',').then_some(())?;
        }
    }

    /// A literal up to its closing quotation mark; `serde_json` resolves its escapes.
    fn string(&mut self) -> Option<String> {
        let mut escaped = false;
        let inside = self.rest.strip_prefix('"')?.bytes().position(|byte| {
            let closes = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            closes
        })?;
        serde_json::from_str(self.take(inside + 2)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_part_has_its_place() {
        let node = read("{\n  \"a\": [1, \"x\\\"y\"],\n  \"A\": {\"b\": null}\n}").unwrap();
        let members = node.members();
        assert_eq!((members[0].key.as_str(), members[0].at), ("a", Place { line: 2, column: 3 }));
        assert_eq!(members[0].value.items()[1].text(), Some("x\"y"));
        assert_eq!(members[0].value.items()[1].at, Place { line: 2, column: 12 });
        assert_eq!(members[1].at.line, 3);
        assert!(node.get("a").unwrap().members().len() == 1, "of two spellings the last is read");
        assert!(node.get("a").unwrap().get("b").is_none(), "null says nothing");
    }

    #[test]
    fn repeated_keys_are_both_there() {
        assert_eq!(read("{\"a\":1,\"a\":2}").unwrap().members().len(), 2);
        assert!(read("{\"a\" 1}").is_none() && read("[1,]").is_none() && read("").is_none() && read("1 2").is_none());
    }

    proptest! {
        /// Whatever is JSON to `serde_json` is JSON here, and the other way round it may be narrower only.
        #[test]
        fn what_serde_json_reads_is_read(text in "[\\[\\]{}\",:0-9a-c\\\\ntrue. -]{0,40}") {
            let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            let ours = read(&text).is_some();
            prop_assert!(!theirs || ours);
        }
    }
}
