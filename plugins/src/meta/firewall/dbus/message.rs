//! Messages of the bus as bytes (D-Bus Specification, "Message Protocol"): calls are written little-endian, answers are read
//! in the order of bytes they say.

use super::Target;

/// The fixed part of a header with the length of its list of fields.
pub const FIXED: usize = 16;
/// Longest list of fields and longest body that are read: answers to us are a word long.
pub const HEADER_MAX: usize = 1 << 16;
pub const BODY_MAX: usize = 1 << 20;

/// Kinds of messages.
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;

/// Kinds of header fields.
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// What a method gave back: its first value.
#[derive(Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing, or something that is not asked for here.
    Other,
    /// `s`.
    Text(String),
    /// `b`.
    Boolean(bool),
}

/// What a message is to somebody who waits for the answer to his call.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    Other,
    /// The method's answer.
    Returned(Value),
    /// An error, with the text that came along.
    Error { name: String, text: String },
}

/// A call of a method that takes texts.
pub fn call(serial: u32, target: &Target<'_>, method: &str, texts: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    for text in texts {
        put_text(&mut body, text);
    }
    let mut bytes = vec![b'l', CALL, 0, 1];
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(serial.to_le_bytes());
    bytes.extend([0; 4]);
    let fields = [
        (PATH, b'o', target.path),
        (INTERFACE, b's', target.interface),
        (MEMBER, b's', method),
        (DESTINATION, b's', target.destination),
    ];
    for (field, kind, text) in fields {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend([field, 1, kind, 0]);
        put_text(&mut bytes, text);
    }
    if !texts.is_empty() {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend([SIGNATURE, 1, b'g', 0, texts.len() as u8]);
        bytes.extend(vec![b's'; texts.len()]);
        bytes.push(0);
    }
    let fields = (bytes.len() - FIXED) as u32;
    bytes[12..FIXED].copy_from_slice(&fields.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(body);
    bytes
}

/// Length, bytes, zero. The length stands at a multiple of four.
fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

/// Lengths of what follows the fixed part: the rest of the header with its padding, and the body. `None`: no header.
pub fn lengths(fixed: &[u8]) -> Option<(usize, usize)> {
    let mut reader = Reader::new(fixed)?;
    reader.at = 4;
    let body = reader.number()? as usize;
    reader.at = 12;
    let fields = reader.number()? as usize;
    Some((fields.next_multiple_of(8), body))
}

/// What a whole message is to the sender of `serial`. `None`: it cannot be read.
pub fn answer(message: &[u8], serial: u32) -> Option<Answer> {
    let mut reader = Reader::new(message)?;
    let kind = message.get(1)?;
    let (header, _) = lengths(message)?;
    reader.at = 12;
    let end = FIXED + reader.number()? as usize;
    let (mut error, mut reply_to, mut signature) = (String::new(), None, String::new());
    while reader.at < end {
        reader.align(8);
        let field = reader.byte()?;
        match (field, &reader.signature()?[..]) {
            (ERROR_NAME, "s") => error = reader.text()?,
            (REPLY_SERIAL, "u") => reply_to = Some(reader.number()?),
            (SIGNATURE, "g") => signature = reader.signature()?,
            (_, "s" | "o") => drop(reader.text()?),
            (_, "g") => drop(reader.signature()?),
            (_, "u") => drop(reader.number()?),
            // A field that nobody has defined yet, of a kind that cannot be passed over.
            _ => return None,
        }
    }
    if reply_to != Some(serial) {
        return Some(Answer::Other);
    }
    reader.at = FIXED + header;
    let value = match signature.bytes().next() {
        Some(b's') => Value::Text(reader.text()?),
        Some(b'b') => Value::Boolean(reader.number()? != 0),
        _ => Value::Other,
    };
    Some(match (*kind, value) {
        (RETURN, value) => Answer::Returned(value),
        (ERROR, Value::Text(text)) => Answer::Error { name: error, text },
        (ERROR, _) => Answer::Error { name: error, text: String::new() },
        _ => Answer::Other,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big: bool,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Option<Reader<'a>> {
        let big = match bytes.first()? {
            b'l' => false,
            b'B' => true,
            _ => return None,
        };
        Some(Reader { bytes, at: 0, big })
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4);
        let bytes = self.take(4)?.try_into().ok()?;
        Some(if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        self.ended(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = self.byte()?.into();
        self.ended(length)
    }

    fn ended(&mut self, length: usize) -> Option<String> {
        let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        (self.byte()? == 0).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TARGET: Target<'_> = Target { destination: "org.x", path: "/org/x", interface: "org.x.y" };

    #[test]
    fn a_call_has_the_bytes_of_the_specification() {
        let bytes = call(1, &TARGET, "addSource", &["trusted", "10.1.0.2/32"]);
        assert_eq!(&bytes[..12], [b'l', 1, 0, 1, 28, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(lengths(&bytes).map(|(header, body)| FIXED + header + body), Some(bytes.len()));
        assert!(bytes.windows(8).any(|window| window == [SIGNATURE, 1, b'g', 0, 2, b's', b's', 0]));
        assert!(bytes.ends_with(b"\x0b\0\0\x0010.1.0.2/32\0"));
    }

    #[test]
    fn answers_to_others_are_left_aside() {
        assert_eq!(answer(&call(3, &TARGET, "m", &["x"]), 3), Some(Answer::Other));
        assert_eq!(answer(b"", 1), None);
        assert_eq!(answer(b"x123456789012345", 1), None);
    }

    #[test]
    fn values_and_errors_are_read() {
        let mut bytes = vec![b'l', RETURN, 0, 1, 4, 0, 0, 0, 9, 0, 0, 0, 15, 0, 0, 0];
        bytes.extend([REPLY_SERIAL, 1, b'u', 0, 5, 0, 0, 0, SIGNATURE, 1, b'g', 0, 1, b'b', 0, 0, 1, 0, 0, 0]);
        assert_eq!(answer(&bytes, 5), Some(Answer::Returned(Value::Boolean(true))));
        assert_eq!(answer(&bytes, 6), Some(Answer::Other));
        let mut bytes = vec![b'B', ERROR, 0, 1, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 31];
        bytes.extend([REPLY_SERIAL, 1, b'u', 0, 0, 0, 0, 5]);
        bytes.extend([ERROR_NAME, 1, b's', 0, 0, 0, 0, 3, b'a', b'.', b'b', 0, 0, 0, 0, 0]);
        bytes.extend([SIGNATURE, 1, b'g', 0, 1, b's', 0, 0, 0, 0, 0, 2, b'h', b'i', 0]);
        assert_eq!(answer(&bytes, 5), Some(Answer::Error { name: "a.b".into(), text: "hi".into() }));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_makes_it_panic(kind in 0u8..6, cut in 0usize..120, flips in prop::collection::vec((0usize..120, any::<u8>()), 0..6)) {
            let mut bytes = call(7, &TARGET, "member", &["text"]);
            bytes[1] = kind;
            for (at, value) in flips {
                if let Some(byte) = bytes.get_mut(at) { *byte = value; }
            }
            bytes.truncate(cut);
            let _ = lengths(&bytes);
            let _ = answer(&bytes, 7);
        }
    }
}
