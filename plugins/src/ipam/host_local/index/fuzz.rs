//! A table on which somebody has written, for the fuzzer: it is distrusted or answers, and never panics.

use std::fs::{self, File};
use std::net::IpAddr;

use super::free;
use super::table::{PAGE, Table};
use crate::ipam::host_local::lease::key;

const PAGES: u32 = 2;

/// Four bytes a change: a place, and what is written there.
pub fn pages(bytes: &[u8]) {
    let mut image = image();
    let end = image.len() - PAGE;
    for change in bytes.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % end;
        image[PAGE + at] = change[2];
    }
    let Some(mut table) = on_disk(&image) else { return };
    let _ = table.entries(&key("10.1.0.7"));
    for last in [0, 1, 7, 63, 64, 255] {
        let ip = IpAddr::from([10, 1, 0, last]);
        let _ = free::next(&mut table, ip, IpAddr::from([10, 1, 3, 255]));
        let _ = free::take(&mut table, ip);
        let _ = free::free(&mut table, ip);
    }
}

/// A table with forty addresses taken, after one page of something else.
fn image() -> Vec<u8> {
    let mut table = Table::empty(PAGES);
    for last in 0..40 {
        let _ = free::take(&mut table, IpAddr::from([10, 1, 0, last]));
    }
    let mut image = vec![0; PAGE];
    table.bytes().for_each(|page| image.extend(page));
    image
}

fn on_disk(image: &[u8]) -> Option<Table> {
    let path = std::env::temp_dir().join(format!("fairlead-fuzz-{}", std::process::id()));
    fs::write(&path, image).ok()?;
    let file = File::options().read(true).write(true).open(&path);
    fs::remove_file(&path).ok()?;
    Some(Table::of_file(file.ok()?, PAGES))
}
