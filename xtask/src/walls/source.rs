//! The Rust sources of the house, read and parsed once.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// One file.
pub struct Source {
    /// Relative to the root of the checkout, with `/`.
    pub path: PathBuf,
    /// As read.
    pub text: String,
    /// As parsed.
    pub tree: syn::File,
}

impl Source {
    /// Parse a text as the file `path`.
    pub fn parse(path: &str, text: &str) -> Result<Source> {
        let tree = syn::parse_file(text).with_context(|| format!("parse {path}"))?;
        Ok(Source { path: PathBuf::from(path), text: text.to_owned(), tree })
    }

    /// Does the file lie in or below `room` (`"plugins/kernel"`), or is it that file?
    pub fn is_in(&self, room: &str) -> bool {
        self.path.starts_with(room)
    }
}

/// Every `.rs` file but for build products.
pub fn load(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
            let path = entry.with_context(|| format!("list {}", dir.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    dirs.push(path);
                }
            } else if name.ends_with(".rs") {
                let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
                let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                sources.push(Source::parse(&relative, &text)?);
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}
