//! The peers the tests and benchmarks compare with: built once into the cache, by the lab, which knows what they are.

use crate::{place, steps};
use anyhow::Result;

/// Build the reference plugins and cnitool, unless they are there. Needs a built lab.
pub fn build() -> Result<()> {
    let mut lab = place::command(&place::dist().join("bin/fairlead-lab").to_string_lossy());
    lab.args(["peers", "build"]).env("FAIRLEAD_DIST", place::dist());
    steps::run("build the reference plugins (Go)", &mut lab).map(|_| ())
}
