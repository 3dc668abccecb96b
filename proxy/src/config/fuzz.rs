//! The text of a configuration file, for the fuzzer.

use super::document::Document;
use super::{Bind, Conntrack, NodePortAddresses, flags, validate, write};

/// Through the reader, the checks, and back out: what was read without a fault must be readable when it is written.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok((document, _)) = Document::read(text) else { return };
    if !validate::faults(&document).is_empty() {
        return;
    }
    let beside = flags::Beside { healthz: true, metrics: true, ..flags::Beside::default() };
    let bind: Bind = super::bind_addresses(&document, &beside);
    let _ = (Conntrack::new(&document), NodePortAddresses::new(&document).remarks(&document));
    let written = write::yaml(&write::effective(&document, None, bind)).expect("written");
    let (again, remarks) = Document::read(&written).expect("what was written can be read");
    assert!(remarks.is_empty(), "{remarks:?}");
    assert_eq!(write::effective(&again, None, bind), write::effective(&document, None, bind), "{written}");
}
