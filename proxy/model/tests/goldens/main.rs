//! Text in, tables out: what each rule means, in files a person can read (`cases/`).
//!
//! A file is facts, then `gives`, then the tables that they mean; perhaps more facts after `then`, and the tables as they are
//! now. `FAIRLEAD_UPDATE_GOLDENS=1 cargo test -p fairlead-proxy-model --test goldens` writes the tables anew.

mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use fairlead_proxy_model::{
    Actual, Dump, Engine, HealthCheck, ObjectName, Settings, Sizes, Tables, Verdict, Why, diff, frontend_name,
    render_desired, render_view,
};

const SIZES: Sizes = Sizes { slots: 64, backends: 256, addresses: 64, ranges: 64 };

/// An engine, and maps that follow it.
struct Bench {
    engine: Engine,
    actual: Actual,
    tables: Tables,
    health: BTreeMap<ObjectName, HealthCheck>,
}

impl Bench {
    fn new() -> Self {
        Self {
            engine: Engine::new(Settings::new("node-a")),
            actual: Actual::restore(&Dump::default(), SIZES),
            tables: Tables::new(SIZES),
            health: BTreeMap::new(),
        }
    }

    /// Everything that `text` leads to.
    fn stage(&mut self, text: &str) -> String {
        let stage = parse::stage(text);
        if let Some(settings) = stage.settings {
            self.tables.localhost_node_ports = settings.localhost_node_ports;
            self.engine.set_settings(settings);
        }
        for change in stage.changes {
            self.engine.apply(change);
        }
        let done = self.engine.recompute();
        for (name, check) in done.health_checks {
            match check {
                Some(check) => drop(self.health.insert(name, check)),
                None => drop(self.health.remove(&name)),
            }
        }
        let plan = diff(&mut self.actual, self.engine.desired(), &done.touched, &BTreeSet::new(), false);
        for (_, op) in &plan.ops {
            self.tables.apply(op);
        }
        let retired = self.actual.take_retired();
        for op in retired.ops(&self.actual).collect::<Vec<_>>() {
            self.tables.apply(&op);
        }
        self.actual.release(retired);

        let mut out = render_view(&self.tables.dump().view());
        assert_eq!(out, render_desired(self.engine.desired()));
        for (name, HealthCheck { port, v4, v6 }) in &self.health {
            _ = writeln!(out, "health check of {name} at {port}: {}", counts(*v4, *v6));
        }
        let no_local = self.engine.no_local();
        for (policy, [v4, v6]) in [("internal", no_local.internal), ("external", no_local.external)] {
            if v4 + v6 > 0 {
                _ = writeln!(out, "none local by {policy} policy: {v4} IPv4, {v6} IPv6");
            }
        }
        for notice in self.engine.notices() {
            _ = writeln!(out, "{:?}: {notice}", notice.weight());
        }
        for ask in stage.asks {
            let verdict = self.tables.ask(&ask.client, ask.at.ip(), ask.at.port(), ask.protocol);
            _ = writeln!(out, "{}: {}", ask.text, answer(&verdict));
        }
        out
    }
}

fn counts(v4: Option<u32>, v6: Option<u32>) -> String {
    let families = [("IPv4", v4), ("IPv6", v6)].into_iter();
    let told = families.filter_map(|(name, count)| Some(format!("{} {name}", count?)));
    told.collect::<Vec<_>>().join(", ")
}

fn answer(verdict: &Verdict) -> String {
    let why = |why: &Why| match why {
        Why::NoEndpoint => "no endpoint",
        Why::NoLocalEndpoint => "no endpoint on this node",
        Why::UndefinedPort => "a cluster IP without this port",
        Why::SourceRange => "not in the source ranges",
        Why::ClientUnknown => "the client is not known",
        Why::Broken => "the maps are broken",
    };
    match verdict {
        Verdict::Pass => "left alone".to_owned(),
        Verdict::Refused(reason) => format!("refused, {}", why(reason)),
        Verdict::Dropped(reason) => format!("dropped, {}", why(reason)),
        Verdict::To { key, backends } => {
            let backends: Vec<String> = backends.iter().map(ToString::to_string).collect();
            format!("by {} to {}", frontend_name(key), backends.join(" or "))
        }
    }
}

/// The file as it should be.
fn rewritten(text: &str) -> String {
    let mut bench = Bench::new();
    let mut out = String::new();
    for (index, part) in text.split("\nthen\n").enumerate() {
        if index > 0 {
            out.push_str("then\n");
        }
        let facts = part.split("\ngives\n").next().unwrap_or("");
        _ = write!(out, "{}\ngives\n\n{}\n", facts.trim_end_matches('\n'), bench.stage(facts));
    }
    out
}

#[test]
fn each_case_gives_what_its_file_says() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/cases");
    let mut differing = Vec::new();
    let mut count = 0;
    let mut paths: Vec<_> = fs::read_dir(&cases).expect("cases").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a case");
        let wanted = rewritten(&text);
        if std::env::var_os("FAIRLEAD_UPDATE_GOLDENS").is_some() {
            fs::write(&path, &wanted).expect("write a case");
        } else if text != wanted {
            differing.push(format!("{}:\n{wanted}", path.display()));
        }
        count += 1;
    }
    assert!(count >= 20, "cases are missing");
    assert!(differing.is_empty(), "not as the files say:\n{}", differing.join("\n"));
}

/// A restart and a history lead to the same text: each case once more, all facts of it at once.
#[test]
fn the_maps_of_a_case_are_found_again() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/cases");
    for entry in fs::read_dir(&cases).expect("cases") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a case");
        let mut bench = Bench::new();
        for part in text.split("\nthen\n") {
            _ = bench.stage(part.split("\ngives\n").next().unwrap_or(""));
        }
        let mut found = Actual::restore(&bench.tables.dump(), SIZES);
        let entries: BTreeSet<_> = bench.engine.desired().entries().chain(found.entries()).collect();
        let plan = diff(&mut found, bench.engine.desired(), &entries, &BTreeSet::new(), false);
        assert_eq!(plan.ops, vec![]);
    }
}
