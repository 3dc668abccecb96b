//! Ctrl-C in the middle: every lab that asked for it goes, then the process.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

static LABS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static BEGUN: AtomicBool = AtomicBool::new(false);

/// From here on SIGINT and SIGTERM take the lab in this directory down, and all others that asked, and end the process.
pub fn take_down_on_interrupt(dir: &Path) -> Result<()> {
    let mut labs = LABS.lock().unwrap_or_else(PoisonError::into_inner);
    labs.push(dir.to_owned());
    if labs.len() > 1 {
        return Ok(());
    }
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("listen for SIGINT and SIGTERM")?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            BEGUN.store(true, Ordering::SeqCst);
            eprintln!("\ninterrupted: taking everything down");
            let labs = LABS.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for trouble in labs.iter().filter(|dir| dir.exists()).flat_map(|dir| super::remove::remove(dir)) {
                eprintln!("{trouble}");
            }
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Once that has begun, never returns: whoever takes the labs down ends this process. Else at once.
pub fn stand_aside() {
    while BEGUN.load(Ordering::SeqCst) {
        std::thread::park();
    }
}
