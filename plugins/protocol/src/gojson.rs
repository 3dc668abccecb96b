//! Decoding as Go's `encoding/json` does it, because existing configurations were only ever checked by that.
//!
//! Keys match without regard to case, `null` means "leave the default", unknown keys are ignored, of several spellings
//! of one key the last wins; but `1450.0`, `1e3` and `"1450"` are not integers. Types are plain `serde` derives with
//! `#[serde(default)]`; the names of their fields are what keys are folded to. `#[serde(flatten)]` hides those names
//! and must not be used.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{BorrowedStrDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a value does not fit, and where: `ipam.ranges[0][1].subnet: …`.
#[derive(Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// From the outermost key to the innermost; empty: the whole document.
    path: String,
    reason: String,
}

impl DecodeError {
    fn under_key(mut self, key: &str) -> Self {
        let separator = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{key}{separator}{}", self.path);
        self
    }

    fn under_index(mut self, index: usize) -> Self {
        let separator = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("[{index}]{separator}{}", self.path);
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(msg: T) -> Self {
        DecodeError { path: String::new(), reason: msg.to_string() }
    }
}

/// Parses a document. Bytes that are not UTF-8 become U+FFFD, as in Go. Errors: the reason with line and column.
pub fn parse(text: &[u8]) -> Result<Value, String> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err("unexpected end of JSON input".to_owned());
    }
    serde_json::from_str(&String::from_utf8_lossy(text)).map_err(|error| error.to_string())
}

/// Decodes a value into a type.
pub fn decode<'a, T: Deserialize<'a>>(value: &'a Value) -> Result<T, DecodeError> {
    T::deserialize(Lenient(value))
}

/// The last value under any spelling of `key`, `null` left aside.
pub fn lookup<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    let object = object.as_object()?;
    object.iter().rev().find(|(name, value)| same_key(name, key) && !value.is_null()).map(|(_, value)| value)
}

/// Sets `key` in an object and removes its other spellings.
pub fn replace(object: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    object.retain(|name, _| !same_key(name, key));
    if let Some(value) = value {
        object.insert(key.to_owned(), value);
    }
}

/// Whether two keys are the same to Go. Its folding: ASCII case, and the two other letters whose simple folding is ASCII (U+017F and U+212A;
/// encoding/json/fold.go).
pub fn same_key(a: &str, b: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    a.chars().map(fold).eq(b.chars().map(fold))
}

#[derive(Clone, Copy)]
struct Lenient<'a>(&'a Value);

impl<'a> Lenient<'a> {
    fn integer(self) -> Result<i128, DecodeError> {
        match self.0 {
            Value::Null => Ok(0),
            Value::Number(number) => whole(number).ok_or_else(|| {
                DecodeError::custom(format!("{number} is not an integer (write it without point or exponent)"))
            }),
            other => Err(DecodeError::custom(format!("{} is not an integer", describe(other)))),
        }
    }
}

fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => format!("the boolean {b}"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(s) => format!("the string {s:?}"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

macro_rules! integers {
    ($($method:ident => $type:ty, $visit:ident;)*) => {$(
        fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            let wide = self.integer()?;
            let narrow = <$type>::try_from(wide).map_err(|_| {
                DecodeError::custom(format!("{wide} is out of range ({} to {})", <$type>::MIN, <$type>::MAX))
            })?;
            visitor.$visit(narrow)
        }
    )*};
}

impl<'a> Deserializer<'a> for Lenient<'a> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Number(n) => n.deserialize_any(visitor).map_err(|error| DecodeError::custom(error.to_string())),
            Value::String(s) => visitor.visit_borrowed_str(s),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Null => visitor.visit_bool(false),
            Value::Bool(b) => visitor.visit_bool(*b),
            other => Err(DecodeError::custom(format!("{} is not a boolean", describe(other)))),
        }
    }

    integers! {
        deserialize_i8 => i8, visit_i8;
        deserialize_i16 => i16, visit_i16;
        deserialize_i32 => i32, visit_i32;
        deserialize_i64 => i64, visit_i64;
        deserialize_u8 => u8, visit_u8;
        deserialize_u16 => u16, visit_u16;
        deserialize_u32 => u32, visit_u32;
        deserialize_u64 => u64, visit_u64;
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Null => visitor.visit_borrowed_str(""),
            Value::String(s) => visitor.visit_borrowed_str(s),
            other => Err(DecodeError::custom(format!("{} is not a string", describe(other)))),
        }
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.0 {
            Value::Null => visitor.visit_seq(Items { items: [].iter().enumerate() }),
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            other => Err(DecodeError::custom(format!("{} is not a list", describe(other)))),
        }
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let entries = match self.0 {
            Value::Null => Vec::new(),
            Value::Object(object) => object.iter().map(|(key, value)| (key.as_str(), value)).collect(),
            other => return Err(DecodeError::custom(format!("{} is not an object", describe(other)))),
        };
        visitor.visit_map(Entries { entries: entries.into_iter(), value: None })
    }

    /// The one place where keys are folded: `fields` are the names the type knows.
    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let object = match self.0 {
            Value::Null => return visitor.visit_map(Entries { entries: Vec::new().into_iter(), value: None }),
            Value::Object(object) => object,
            other => return Err(DecodeError::custom(format!("{} is not an object", describe(other)))),
        };
        let mut entries: Vec<(&str, &Value)> = Vec::with_capacity(fields.len());
        for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            let exact = fields.iter().find(|field| *field == key);
            let Some(field) = exact.or_else(|| fields.iter().find(|field| same_key(field, key))) else { continue };
            match entries.iter_mut().find(|(name, _)| name == field) {
                Some(entry) => entry.1 = value,
                None => entries.push((field, value)),
            }
        }
        visitor.visit_map(Entries { entries: entries.into_iter(), value: None })
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let text = String::deserialize(self)?;
        let word: StringDeserializer<DecodeError> = text.into_deserializer();
        word.deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'a>>
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Value>>,
}

impl<'a> SeqAccess<'a> for Items<'a> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        let Some((index, item)) = self.items.next() else { return Ok(None) };
        seed.deserialize(Lenient(item)).map(Some).map_err(|error| error.under_index(index))
    }
}

struct Entries<'a> {
    entries: std::vec::IntoIter<(&'a str, &'a Value)>,
    value: Option<(&'a str, &'a Value)>,
}

impl<'a> MapAccess<'a> for Entries<'a> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        self.value = self.entries.next();
        let Some((key, _)) = self.value else { return Ok(None) };
        seed.deserialize(BorrowedStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let (key, value) =
            self.value.take().ok_or_else(|| DecodeError::custom("a value was asked for before its key"))?;
        seed.deserialize(Lenient(value)).map_err(|error| error.under_key(key))
    }
}

#[cfg(test)]
mod tests;
