//! Rooms stay small and are named after what is in them.

use super::{Breach, source::Source};

/// Past this a file has a seam that should be looked for.
const LONGEST: usize = 400;
/// Names that say nothing about what is inside.
const NAMELESS: &[&str] = &["utils", "util", "helpers", "helper", "common", "manager", "misc"];

pub fn check(sources: &[Source]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for source in sources {
        let lines = source.text.lines().count();
        if lines > LONGEST {
            let what = format!("{lines} lines, {LONGEST} is the most: cut the file where a reader's question ends");
            breaches.push(Breach { file: source.path.clone(), line: lines, what });
        }
        let names = source.path.iter().map(|part| part.to_string_lossy());
        if let Some(name) = names.map(|part| part.trim_end_matches(".rs").to_owned()).find(|n| NAMELESS.contains(&&**n))
        {
            let what = format!("a room named {name:?}: name it after what is in it");
            breaches.push(Breach { file: source.path.clone(), line: 1, what });
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_and_a_nameless_room_are_breaches() {
        let long = Source::parse("proxy/src/apply.rs", &"// line\n".repeat(LONGEST + 1)).unwrap();
        let nameless = Source::parse("proxy/src/utils.rs", "").unwrap();
        let folder = Source::parse("proxy/src/common/apply.rs", "").unwrap();
        let good = Source::parse("proxy/src/loop.rs", &"// line\n".repeat(LONGEST)).unwrap();
        let files: Vec<_> =
            check(&[long, nameless, folder, good]).iter().map(|breach| breach.file.display().to_string()).collect();
        assert_eq!(files, ["proxy/src/apply.rs", "proxy/src/utils.rs", "proxy/src/common/apply.rs"]);
    }
}
