use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

const NAMES: [&str; 3] = ["bridge", "host-local", "cnitool"];

fn files(directory: &Path) -> Vec<(String, u64)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().ino())
        })
        .collect();
    files.sort();
    files
}

fn here(entries: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in entries {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// A file that says it is ours in this version.
fn stamped(version: &str) -> String {
    format!("\0fairlead-cni is version {version};\0")
}

#[test]
fn one_inode_under_all_names_and_the_others_untouched() {
    let directory = here(&[("bridge", "reference"), ("macvlan", "reference")]);
    let text = install(directory.path(), &NAMES, false, false).unwrap();
    let found = files(directory.path());
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [".fairlead", "bridge", "cnitool", "fairlead-cni", "host-local", "macvlan"]);
    assert!(found[1..5].iter().all(|(_, inode)| *inode == found[1].1));
    assert!(text.contains("not touched: macvlan") && text.contains("replaces another plugin"), "{text}");
    let mode = fs::metadata(directory.path().join("bridge")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
    assert_eq!(files(&directory.path().join(".fairlead")).len(), 3, "lock, installed, replaced");
}

#[test]
fn restore_is_the_way_back_after_any_number_of_installations() {
    let directory = here(&[("bridge", "reference"), ("macvlan", "reference")]);
    let before = files(directory.path());
    for _ in 0..3 {
        install(directory.path(), &NAMES, false, false).unwrap();
    }
    restore(directory.path(), false).unwrap();
    assert_eq!(files(directory.path()), before);
    assert!(restore(directory.path(), false).unwrap_err().to_string().contains("no installation"));
}

#[test]
fn what_somebody_else_put_over_ours_is_kept_and_not_restored_away() {
    let directory = here(&[("bridge", "reference 1")]);
    install(directory.path(), &NAMES, false, false).unwrap();
    fs::remove_file(directory.path().join("bridge")).unwrap();
    fs::write(directory.path().join("bridge"), "reference 2").unwrap();
    let text = restore(directory.path(), true).unwrap();
    assert!(text.contains("left alone"), "{text}");
    install(directory.path(), &NAMES, false, false).unwrap();
    restore(directory.path(), false).unwrap();
    assert_eq!(fs::read_to_string(directory.path().join("bridge")).unwrap(), "reference 2");
}

#[test]
fn a_newer_one_is_not_replaced_unless_forced() {
    let directory = here(&[("bridge", &stamped("999.0.0"))]);
    let before = files(directory.path());
    let refused = install(directory.path(), &NAMES, false, false).unwrap_err().to_string();
    assert!(refused.contains("999.0.0") && refused.contains("--force"), "{refused}");
    assert_eq!(files(directory.path()), before);
    install(directory.path(), &NAMES, true, false).unwrap();
    assert_eq!(version_of(&directory.path().join("bridge")).as_deref(), Some(version::own()));
    let older = here(&[("bridge", &stamped("0.0.1"))]);
    install(older.path(), &NAMES, false, false).unwrap();
    assert_eq!(
        restore(older.path(), false).unwrap().matches("removed").count(),
        4,
        "an older one of ours is not what was before us"
    );
}

#[test]
fn a_name_of_an_earlier_version_goes_with_it() {
    let directory = here(&[("ptp", "reference")]);
    install(directory.path(), &["bridge", "ptp", "old-name"], false, false).unwrap();
    install(directory.path(), &NAMES, false, false).unwrap();
    assert!(!directory.path().join("old-name").exists());
    assert_eq!(fs::read_to_string(directory.path().join("ptp")).unwrap(), "reference");
}

#[test]
fn nothing_is_done_when_it_is_only_asked() {
    let directory = here(&[("bridge", "reference")]);
    let before = files(directory.path());
    let text = install(directory.path(), &NAMES, false, true).unwrap();
    assert!(text.contains("would be installed"), "{text}");
    assert_eq!(files(directory.path()), before);
}

#[test]
fn a_directory_in_the_way_stops_it_before_anything_changes() {
    let directory = here(&[("bridge", "reference")]);
    fs::create_dir(directory.path().join("cnitool")).unwrap();
    let before = files(directory.path());
    let refused = install(directory.path(), &NAMES, false, false).unwrap_err().to_string();
    assert!(refused.contains("cnitool") && refused.contains("directory"), "{refused}");
    assert_eq!(files(directory.path()), before);
    let missing = install(&directory.path().join("not-there"), &NAMES, false, false).unwrap_err().to_string();
    assert!(missing.contains("make the directory first"), "{missing}");
}

#[test]
fn an_exchange_that_fails_at_its_last_name_is_taken_back() {
    let directory = here(&[("bridge", "reference")]);
    let before = files(directory.path());
    let place = Place::open(directory.path()).unwrap();
    let new = place.fresh("new").unwrap();
    fs::write(new.join("bridge"), "new").unwrap();
    fs::write(new.join("added"), "new").unwrap();
    // `missing` is not ready, so its rename fails.
    let changes = ["bridge", "added", "missing"].map(|name| (name.to_owned(), Change::Put));
    exchange(&place, &changes, &Interrupts::listen(), || Ok(())).unwrap_err();
    leave_as_found(&place, false);
    assert_eq!(files(directory.path()), before);
}
