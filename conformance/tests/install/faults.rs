//! Killed, refused and interrupted at every system call: all old or all new, and a second run makes it whole.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use fairlead_conformance::lab::Finished;

use super::Scene;

/// The system calls that change a file system, and what a full or broken one says to them.
const CHANGING: &str = "open openat mkdir mkdirat write copy_file_range sendfile link linkat rename renameat renameat2 unlink \
    unlinkat rmdir fsync fchmod fchown symlink symlinkat";

impl Scene {
    fn under_strace(&self, inject: &str) -> Result<Finished> {
        self.node.output(&self.install_job(&[]).under(&["strace", "-qq", "-o", "/dev/null", "-e", inject]))
    }

    /// Every such system call of an installation here, as its name and which one of that name it is.
    fn points(&self) -> Result<Vec<(String, usize)>> {
        let trace = self.node.scratch_file("trace");
        let file = trace.to_string_lossy().into_owned();
        let job = self.install_job(&[]).under(&["strace", "-qq", "-o", &file]);
        self.node.output(&job).context("strace comes with `cargo xtask setup`")?.success()?;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for line in fs::read_to_string(&trace)?.lines() {
            let Some((name, _)) = line.split_once('(') else { continue };
            if CHANGING.split_whitespace().any(|known| known == name) {
                *counts.entry(name.to_owned()).or_default() += 1;
            }
        }
        Ok(counts.into_iter().flat_map(|(name, count)| (1..=count).map(move |which| (name.clone(), which))).collect())
    }

    fn restore(&self) -> Result<()> {
        if self.bin.join(".fairlead").exists() {
            self.install(&["--restore"])?.success()?;
        }
        Ok(())
    }
}

#[test]
fn a_refusal_of_the_file_system_anywhere_leaves_the_old_ones() -> Result<()> {
    let scene = Scene::new("refused")?;
    let before = scene.look()?;
    let points = scene.points()?;
    scene.restore()?;
    let (mut refused, mut survived) = (0, 0);
    for (name, which) in &points {
        let context = || format!("{name} number {which} refused");
        let finished = scene.under_strace(&format!("inject={name}:error=ENOSPC:when={which}"))?;
        if finished.status.success() {
            // Something it can do without, such as opening a library's configuration.
            survived += 1;
            assert!(scene.is_all_new()?, "{}", context());
            scene.restore().with_context(context)?;
        } else {
            refused += 1;
            let said = finished.stderr_text();
            // None at all when it was the error itself that could not be written.
            assert!(said.lines().count() <= 1, "{}: {said}", context());
        }
        let after = scene.look()?;
        assert_eq!(after, before, "{}", context());
    }
    println!(
        "install: {} system calls refused with ENOSPC: {refused} left all as it was, {survived} were no matter",
        points.len()
    );
    ensure!(refused > 10, "{refused} of {}", points.len());
    Ok(())
}

#[test]
fn killed_anywhere_a_second_run_completes_it() -> Result<()> {
    let scene = Scene::new("killed")?;
    let before = scene.look()?;
    let points = scene.points()?;
    scene.restore()?;
    let mut killed = 0;
    for (name, which) in &points {
        let context = || format!("killed at {name} number {which}");
        let finished = scene.under_strace(&format!("inject={name}:signal=KILL:when={which}"))?;
        killed += usize::from(!finished.status.success());
        // Whatever is there can be executed: no name holds half a file.
        for (file, text) in scene.look()? {
            assert!(text.starts_with("755 ") || file == ".fairlead", "{}: {file}: {text}", context());
        }
        scene.install(&[])?.success().with_context(context)?;
        assert!(scene.is_all_new()?, "{}", context());
        scene.install(&["--restore"])?.success().with_context(context)?;
        assert_eq!(scene.look()?, before, "{}", context());
    }
    println!("install: killed at {killed} of {} system calls; completed and restored after each", points.len());
    ensure!(killed * 10 > points.len() * 9, "{killed} of {}", points.len());
    Ok(())
}

#[test]
fn told_to_end_it_ends_with_all_old_or_all_new() -> Result<()> {
    let scene = Scene::new("told")?;
    let before = scene.look()?;
    let points = scene.points()?;
    scene.restore()?;
    let (mut old, mut new) = (0, 0);
    for (name, which) in &points {
        let context = || format!("SIGTERM at {name} number {which}");
        let finished = scene.under_strace(&format!("inject={name}:signal=TERM:when={which}"))?;
        // Before anything was begun it is simply ended.
        if scene.look()? == before {
            old += 1;
            assert!(!finished.status.success(), "{}", context());
        } else {
            new += 1;
            assert!(scene.is_all_new()?, "{}: {:?}", context(), scene.look()?);
            assert!(finished.status.success(), "{}: {}", context(), finished.stderr_text());
            scene.restore()?;
        }
    }
    println!("install: SIGTERM at {} system calls: {old} times all old, {new} times all new", points.len());
    ensure!(old > 0 && new > 0, "{old} and {new}");
    Ok(())
}

#[test]
fn a_file_system_without_room_or_read_only_is_one_clear_error() -> Result<()> {
    let mut scene = Scene::new("small")?;
    let small = scene.node.dir().join("small");
    fs::create_dir(&small)?;
    let mount = |options: &str| {
        scene.node.run(&["mount", "-t", "tmpfs", "-o", options, "none", &small.to_string_lossy()]).map(|_| ())
    };
    mount("size=64k")?;
    scene.bin = small.clone();
    let bin = small.to_string_lossy().into_owned();
    scene.node.run(&["cp", "-a", &format!("{}/opt/bridge", scene.node.dir().display()), &bin])?;
    let look = || scene.node.run(&["ls", "-la", "--time-style=+", &bin]);
    let before = look()?;
    let refused = scene.install(&[])?;
    let said = refused.stderr_text();
    assert_eq!((refused.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(look()?, before);

    scene.node.run(&["mount", "-o", "remount,ro", &bin])?;
    let refused = scene.install(&[])?;
    let said = refused.stderr_text();
    assert_eq!((refused.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("Read-only file system") && said.contains("mounted read-only"), "{said}");
    assert_eq!(look()?, before);
    Ok(())
}
