//! The service proxy daemon and its operator verbs.

pub mod maps;

fn main() {}
