//! Captures: what really went over a device, by `tcpdump`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::lab::{Job, Place, Running};
use crate::limit;

/// A running capture. [`Capture::stop`] gives what was seen; dropped, it only ends.
#[derive(Debug)]
pub struct Capture {
    place: Place,
    process: Running,
    file: PathBuf,
}

impl Capture {
    /// Captures on `device` what matches `filter` (pcap-filter(7); empty for everything); listens when this returns.
    pub fn start(place: &Place, device: &str, filter: &str) -> Result<Self> {
        let file = place.scratch_file(&format!("{device}.pcap"));
        let job = Job::new("tcpdump").args(["-i", device, "-n", "-U", "-Z", "root", "-w"]).arg(&file).arg(filter);
        let mut process = place.start(&job.log(format!("tcpdump-{device}")))?;
        limit::until("tcpdump to listen", limit::patience(10), || {
            if !process.is_alive()? {
                anyhow::bail!("tcpdump on {device}: {}", process.stderr_text()?);
            }
            Ok(process.stderr_text()?.contains("listening on").then_some(()))
        })?;
        Ok(Self { place: place.clone(), process, file })
    }

    /// The packets seen so far, one line each as `tcpdump -n -e -t` prints them (no times).
    pub fn packets(&self) -> Result<Vec<String>> {
        let file = self.file.to_string_lossy();
        let text = self.place.run(&["tcpdump", "-n", "-e", "-t", "-r", &file]).context("read a capture")?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Waits until a packet was seen whose line contains all of these words, and gives its line.
    pub fn wait_for(&self, words: &[&str]) -> Result<String> {
        limit::until(&format!("a packet with {words:?}"), limit::patience(10), || {
            Ok(self.packets()?.into_iter().find(|line| words.iter().all(|word| line.contains(word))))
        })
    }

    /// Ends the capture and gives all packets.
    pub fn stop(mut self) -> Result<Vec<String>> {
        self.process.signal(Signal::SIGINT)?;
        self.process.wait(limit::patience(10))?;
        self.packets()
    }
}
