//! `doctor`: what of this machine helps or hinders the proxy.

use anyhow::Result;

use super::{is_bright, print, print_json};
use crate::cli::{Doctor, Output};
use crate::config::Config;
use crate::doctor;

/// `doctor`. Whether the proxy can work here.
pub fn doctor(arguments: &Doctor) -> Result<bool> {
    let findings = doctor::examine(&arguments.run, &Config::new(&arguments.run));
    match arguments.output {
        Output::Json => print_json(&doctor::json(&findings))?,
        Output::Table => print(&doctor::text(&findings, is_bright()))?,
    }
    Ok(doctor::verdict(&findings).1)
}
