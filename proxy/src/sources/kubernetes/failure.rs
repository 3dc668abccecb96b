//! Why a request to the API server came to nothing, in words that name no credentials.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::convert::api::Status;

/// A sentence of the server is cut here.
const LONGEST: usize = 300;

/// See the head of the file.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// We do not know where the server is, or who we are.
    Access(String),
    /// There is no connection, or it broke.
    Connection(String),
    /// The connection stands, and nothing has come over it for this long.
    Silence(Duration),
    /// The server's answer.
    Refused {
        /// As HTTP has it.
        code: u16,
        /// What the server says.
        text: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// What we ask for is older than what the server remembers (410), or its memory is not ours.
    History(&'static str),
    /// The server does not tell when it has sent what was there at the beginning.
    NoEnd,
    /// The server ends each watch as soon as it has begun.
    Ended,
    /// What came is not what the API says.
    Nonsense(String),
}

impl Failure {
    /// The root of an error of the connection.
    pub fn connection(error: &(dyn Error + 'static)) -> Self {
        let mut root = error;
        while let Some(source) = root.source() {
            root = source;
        }
        Self::Connection(cut(&root.to_string()))
    }

    /// An answer that is an error, with the body that came along.
    pub fn refused(code: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let status: Option<Status> = serde_json::from_slice(body).ok();
        Self::status(Status { code, ..status.unwrap_or_default() }, retry_after)
    }

    /// An error in words of the API. `retry_after`: the header's.
    pub fn status(status: Status, retry_after: Option<Duration>) -> Self {
        let Status { code, reason, message, details } = status;
        if code == 410 {
            return Self::History("the server no longer knows the version that we go on from");
        }
        let told = details.and_then(|details| details.retry_after_seconds).map(Duration::from_secs);
        let text = message.or(reason).filter(|text| !text.is_empty()).unwrap_or_else(|| "no reason given".to_owned());
        Self::Refused { code, text: cut(&text), retry_after: retry_after.or(told) }
    }

    /// The kind of failure, in one word for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Access(_) | Self::Refused { code: 401 | 403, .. } => "access",
            Self::Connection(_) => "connection",
            Self::Silence(_) => "silence",
            Self::Refused { code: 429, .. } => "busy",
            Self::Refused { .. } => "refused",
            Self::History(_) => "gone",
            Self::NoEnd => "no_end",
            Self::Ended => "ended",
            Self::Nonsense(_) => "nonsense",
        }
    }

    /// Whether other credentials, or another address, could help.
    pub fn is_about_access(&self) -> bool {
        match self {
            Self::Access(_) | Self::Connection(_) | Self::Silence(_) => true,
            Self::Refused { code, .. } => *code == 401,
            Self::History(_) | Self::NoEnd | Self::Ended | Self::Nonsense(_) => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Access(text) | Self::Connection(text) | Self::Nonsense(text) => f.write_str(text),
            Self::Silence(limit) => write!(f, "the server is silent for {} s", limit.as_secs_f32()),
            Self::Refused { code, text, .. } => match *code {
                0 => write!(f, "the server ends it: {text}"),
                401 => write!(f, "the server does not know us (401): {text}"),
                403 => write!(f, "the server forbids it (403): {text}; allow get, list and watch to this account"),
                code => write!(f, "the server answers {code}: {text}"),
            },
            Self::History(text) => f.write_str(text),
            Self::Ended => f.write_str("the server ends the watch at once"),
            Self::NoEnd => f.write_str("the server does not tell the end of the initial events"),
        }
    }
}

impl Error for Failure {}

/// One line of bearable length.
fn cut(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_with_the_servers_words_on_one_line() {
        let body = br#"{"kind":"Status","code":429,"message":"too\nmany requests","details":{"retryAfterSeconds":3}}"#;
        let failure = Failure::refused(429, None, body);
        assert_eq!(failure.to_string(), "the server answers 429: too many requests");
        let Failure::Refused { retry_after, .. } = failure else { panic!() };
        assert_eq!(retry_after, Some(Duration::from_secs(3)));
        assert_eq!(Failure::refused(502, None, b"<html>").to_string(), "the server answers 502: no reason given");
        assert!(matches!(Failure::refused(410, None, b""), Failure::History(_)));
        assert!(cut(&"ä ".repeat(1000)).len() < 2 * LONGEST + 8);
    }
}
