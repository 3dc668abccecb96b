//! Errors as the specification numbers them.

use std::fmt;

use serde_json::{Map, Value};

use crate::Version;

/// Error codes: 0–99 belong to the specification, 999 to the reference's dispatcher, 100 and up are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 1: the configuration's `cniVersion` is not served, or does not allow the verb.
    IncompatibleVersion,
    /// 2: a field of the configuration is not supported; `msg` names key and value.
    UnsupportedField,
    /// 3: the container is unknown, the runtime need not clean up.
    UnknownContainer,
    /// 4: a `CNI_*` variable is missing or wrong.
    InvalidEnvironment,
    /// 5: reading or writing failed.
    Io,
    /// 6: JSON that cannot be decoded.
    Decode,
    /// 7: a configuration that decodes but makes no sense.
    InvalidConfig,
    /// 8: `CNI_NETNS` is not a namespace a plugin may work in (the reference's dispatcher; not in the specification).
    InvalidNetns,
    /// 11: the same request may succeed later.
    TryAgainLater,
    /// 50: STATUS: an ADD could not be served now.
    Unavailable,
    /// 51: STATUS: an ADD could not be served, and existing containers may be impaired.
    Limited,
    /// 999: anything else.
    Internal,
    /// Any other number, as a delegate may send it.
    Other(u32),
}

impl Code {
    /// The number on the wire.
    pub fn number(self) -> u32 {
        match self {
            Code::IncompatibleVersion => 1,
            Code::UnsupportedField => 2,
            Code::UnknownContainer => 3,
            Code::InvalidEnvironment => 4,
            Code::Io => 5,
            Code::Decode => 6,
            Code::InvalidConfig => 7,
            Code::InvalidNetns => 8,
            Code::TryAgainLater => 11,
            Code::Unavailable => 50,
            Code::Limited => 51,
            Code::Internal => 999,
            Code::Other(number) => number,
        }
    }
}

impl From<u32> for Code {
    fn from(number: u32) -> Self {
        match number {
            1 => Code::IncompatibleVersion,
            2 => Code::UnsupportedField,
            3 => Code::UnknownContainer,
            4 => Code::InvalidEnvironment,
            5 => Code::Io,
            6 => Code::Decode,
            7 => Code::InvalidConfig,
            8 => Code::InvalidNetns,
            11 => Code::TryAgainLater,
            50 => Code::Unavailable,
            51 => Code::Limited,
            999 => Code::Internal,
            other => Code::Other(other),
        }
    }
}

/// What a plugin answers when it cannot do what it was asked: printed on stdout as JSON, with exit status 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniError {
    /// The number, for machines.
    pub code: Code,
    /// One sentence: the deed, the object, the reason.
    pub msg: String,
    /// More, when one sentence is not enough. Empty: left out.
    pub details: String,
}

impl CniError {
    /// An error without details.
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        CniError { code, msg: msg.into(), details: String::new() }
    }

    /// Code 999: for failures of the kernel and of everything that has no code of its own.
    pub fn internal(msg: impl Into<String>) -> Self {
        CniError::new(Code::Internal, msg)
    }

    /// Code 7: the configuration decodes but makes no sense.
    pub fn config(msg: impl Into<String>) -> Self {
        CniError::new(Code::InvalidConfig, msg)
    }

    /// Adds details.
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// Puts the caller's deed before the message: `context: message`.
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.msg = format!("{context}: {}", self.msg);
        self
    }

    /// The printed form: four spaces of indent and no newline, as the reference, and `cniVersion`, as the
    /// specification says and the reference forgets.
    pub fn to_json(&self, version: Version) -> String {
        let mut object = Map::new();
        object.insert("cniVersion".into(), version.as_str().into());
        object.insert("code".into(), self.code.number().into());
        object.insert("msg".into(), self.msg.as_str().into());
        if !self.details.is_empty() {
            object.insert("details".into(), self.details.as_str().into());
        }
        crate::wire::pretty(&Value::Object(object))
    }

    /// Reads what a delegate printed. `None` when it is not an error object.
    pub fn from_json(text: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let code = value.get("code")?.as_u64()?;
        let text = |key| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(CniError { code: u32::try_from(code).ok()?.into(), msg: text("msg"), details: text("details") })
    }
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if !self.details.is_empty() {
            write!(f, "; {}", self.details)?;
        }
        Ok(())
    }
}

impl std::error::Error for CniError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives_the_way_through_the_enum() {
        for number in 0..1100 {
            assert_eq!(Code::from(number).number(), number);
        }
    }

    #[test]
    fn the_printed_form_is_the_references_with_the_version() {
        let error = CniError::new(Code::InvalidEnvironment, "a <b>").with_details("d");
        let text = "{\n    \"cniVersion\": \"1.1.0\",\n    \"code\": 4,\n    \"msg\": \"a \\u003cb\\u003e\",\n    \"details\": \"d\"\n}";
        assert_eq!(error.to_json(Version::V1_1_0), text);
        assert_eq!(CniError::from_json(text.as_bytes()), Some(error));
    }
}
