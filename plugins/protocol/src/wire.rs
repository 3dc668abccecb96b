//! Results on the wire: the only place that knows how the seven versions write them.

mod read;
mod write;

pub(crate) use read::{decode_delegate_result, decode_prev_result, decode_printed};
pub(crate) use write::{encode, pretty};

#[cfg(test)]
mod tests;
