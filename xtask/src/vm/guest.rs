//! One run of the machine.

use super::kernel::Prepared;
use crate::place;
use anyhow::{Context, Result};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Where a console line with the command's output begins; what stands before it is the firmware's and the kernel's.
const MARK: &str = "fairlead-vm: begin";

/// How a machine is run.
pub struct Guest {
    /// Its memory.
    pub memory_mib: u32,
    /// When to give up.
    pub limit: Duration,
    /// Set for the command.
    pub environment: Vec<(String, String)>,
}

/// What came of it.
pub enum Outcome {
    /// The command ended.
    Ended {
        /// Its exit status as a shell counts it.
        status: i32,
        /// All it wrote, both streams.
        output: String,
    },
    /// The guest hung or died.
    Lost {
        /// All the command wrote until then.
        output: String,
        /// The last lines of the console.
        console: String,
    },
}

impl Guest {
    /// Boot `prepared`, run `command` in it, power off. `show`: copy what the command writes to stdout as it comes.
    pub fn run(&self, prepared: &Prepared, command: &[String], show: bool) -> Result<Outcome> {
        let out =
            tempfile::Builder::new().prefix("fairlead-vm-").tempdir().context("make the guest's output directory")?;
        self.write_orders(prepared, command, out.path())?;
        let mut machine = Machine(self.qemu(prepared, out.path())?);
        let console = self.follow(&mut machine, show)?;
        drop(machine);
        let output = fs::read(out.path().join("output"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default();
        let status = fs::read_to_string(out.path().join("status")).ok().and_then(|text| text.trim().parse().ok());
        Ok(match status {
            Some(status) => Outcome::Ended { status, output },
            None => Outcome::Lost { output, console },
        })
    }

    /// The files in the output directory that tell the guest what to do.
    fn write_orders(&self, prepared: &Prepared, command: &[String], out: &Path) -> Result<()> {
        let mut first = String::from("export TERM=dumb CI=true\n");
        for name in ["HOME", "PATH"] {
            if let Ok(value) = std::env::var(name) {
                first += &format!("export {name}={}\n", quoted(&value));
            }
        }
        for (name, value) in &self.environment {
            first += &format!("export {name}={}\n", quoted(value));
        }
        first += &format!(
            "cd {}\n",
            quoted(&std::env::current_dir().context("read the working directory")?.to_string_lossy())
        );
        let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
        first += &format!("echo '{MARK}'\n");
        // The status must be the command's, not tee's: it is written inside the pipe.
        first += &format!("{{ {} </dev/null 2>&1; echo $? >/vmout/status; }} | tee /vmout/output\n", words.join(" "));
        first += "sync\nbusybox poweroff -f\n";
        fs::write(out.join("first"), first).context("write the guest's orders")?;
        fs::write(out.join("modules.path"), format!("{}\n", prepared.modules.display()))
            .context("write the modules' path")
    }

    fn qemu(&self, prepared: &Prepared, out: &Path) -> Result<Child> {
        place::command("qemu-system-x86_64")
            .args(["-accel", "tcg,thread=multi", "-smp", "2", "-cpu", "max", "-nographic", "-no-reboot"])
            .args(["-m", &self.memory_mib.to_string()])
            .arg("-kernel")
            .arg(&prepared.image)
            .arg("-initrd")
            .arg(&prepared.initrd)
            .args(["-virtfs", "local,path=/,mount_tag=host,security_model=none,multidevs=remap,readonly=on"])
            .arg("-virtfs")
            .arg(format!("local,path={},mount_tag=out,security_model=none", out.display()))
            .args(["-append", "console=ttyS0 panic=-1 quiet loglevel=3"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("start qemu-system-x86_64: is it installed? `cargo xtask setup` does it")
    }

    /// Read the console to its end or to the limit; returns its last lines.
    fn follow(&self, machine: &mut Machine, show: bool) -> Result<String> {
        let console = machine.0.stdout.take().context("qemu has no stdout")?;
        let (lines, heard) = channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
                if lines.send(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()).is_err() {
                    break;
                }
            }
        });
        let end = Instant::now() + self.limit;
        let mut begun = false;
        let mut last: Vec<String> = Vec::new();
        loop {
            match heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if begun && show {
                        // A closed stdout must not leave a machine behind: the run goes on to its end.
                        let _ = writeln!(std::io::stdout(), "{line}");
                    }
                    begun |= line.contains(MARK);
                    if last.len() == 40 {
                        last.remove(0);
                    }
                    last.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    machine.kill();
                    break;
                }
            }
        }
        drop(heard);
        let _ = reader.join();
        Ok(last.join("\n"))
    }
}

/// A running qemu; never outlives us.
struct Machine(Child);

impl Machine {
    fn kill(&mut self) {
        // Fails only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A word as the shell reads it back.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_quoted_word_comes_back_from_the_shell() {
        for word in ["plain", "two words", "it's", "$HOME `x` \"y\" \\", ""] {
            let output = Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }
}
