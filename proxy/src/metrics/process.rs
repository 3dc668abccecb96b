//! `process_*`, as Prometheus' client libraries tell them, from proc(5).

use std::fmt::Write;
use std::fs;

use nix::unistd::{SysconfVar, sysconf};

/// What is known of this process; what cannot be read is left out.
pub fn text() -> String {
    let mut text = String::new();
    let mut tell = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
    };
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let tick = ask(SysconfVar::CLK_TCK);
    // Fields are counted from 1 as in proc_pid_stat(5); the second, a name in parentheses, may hold anything.
    let field = |number: usize| -> Option<f64> {
        stat.as_deref()?.rsplit_once(')')?.1.split_ascii_whitespace().nth(number - 3)?.parse().ok()
    };
    let seconds = || Some((field(14)? + field(15)?) / tick?);
    tell("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", seconds());
    tell("process_max_fds", "gauge", "Maximum number of open file descriptors.", limit("Max open files"));
    let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
    tell("process_open_fds", "gauge", "Number of open file descriptors.", open);
    let resident = || Some(field(24)? * ask(SysconfVar::PAGE_SIZE)?);
    tell("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", resident());
    let started = || Some(boot()? + field(22)? / tick?);
    tell("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.", started());
    tell("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", field(23));
    text
}

fn ask(variable: SysconfVar) -> Option<f64> {
    sysconf(variable).ok().flatten().map(|value| value as f64)
}

/// The soft limit of that name.
fn limit(name: &str) -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    limits.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

/// When the machine was started, seconds since 1970.
fn boot() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn this_process_is_told_of() {
        let text = text();
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|line| line.split(' ').next() == Some(name));
            line.and_then(|line| line.split(' ').nth(1)).and_then(|value| value.parse().ok()).expect(name)
        };
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") >= value("process_open_fds"));
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_virtual_memory_bytes") >= value("process_resident_memory_bytes"));
        assert!(value("process_cpu_seconds_total") >= 0.0);
        assert!(value("process_start_time_seconds") > 1_700_000_000.0);
        assert_eq!(text.matches("# TYPE").count(), 6);
    }
}
