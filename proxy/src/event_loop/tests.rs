//! The whole daemon but for the kernel: files in, maps in memory and problems out.
//!
//! Each directory of `goldens/` is a source; `expected.txt` in it is what the maps mean and what an operator is told after
//! the first load on the node `node-a`. `FAIRLEAD_UPDATE_GOLDENS=1 cargo test -p fairlead-proxy` writes them anew.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fairlead_proxy_model::{Sizes, View, render_desired, render_view};
use tempfile::TempDir;

use super::{Daemon, Signals, Wakeup, signal};
use crate::config::{Config, tests::run_of};
use crate::maps::fake::FakeMaps;
use crate::state::{self, StateDir, Status};

const SIZES: Sizes = Sizes { slots: 64, backends: 256, addresses: 64, ranges: 64 };
/// So that the addresses of the machine are not in the tables.
const LOOPBACK: &str = "--nodeport-addresses=127.0.0.0/8,::1/128";
const PATIENCE: Duration = Duration::from_secs(20);

async fn daemon(source: &Path, maps: &FakeMaps, state_dir: &TempDir) -> Daemon<FakeMaps> {
    let arguments = [("--source", source), ("--state-dir", state_dir.path())]
        .map(|(name, path)| format!("{name}={}", path.display()));
    let arguments = [&arguments[0], &arguments[1], "--node-name=node-a", "--verify-seconds=3600", LOOPBACK];
    let config = Config::new(&run_of(&arguments)).expect("a configuration");
    let config = Config { sizes: SIZES, healthz: None, metrics: None, ..config };
    let state_dir = StateDir::open(state_dir.path()).expect("the state directory");
    Daemon::open(&config, maps.clone(), Box::new(crate::flows::Nothing), state_dir).await.expect("a daemon")
}

fn told(state_dir: &TempDir) -> Status {
    state::read_status(state_dir.path()).expect("status.json").expect("a status")
}

/// All of the maps.
fn view_text(maps: &FakeMaps) -> String {
    render_view(&maps.tables.borrow().dump().view())
}

/// Without the addresses, which are this machine's too.
fn frontends_text(maps: &FakeMaps) -> String {
    let view = maps.tables.borrow().dump().view();
    render_view(&View { addresses: Default::default(), ..view })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

#[test]
fn sources_mean_what_the_goldens_say() {
    let runtime = runtime();
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens");
    let mut differing = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(&goldens).expect("goldens") {
        let source = entry.expect("an entry").path();
        let state_dir = tempfile::tempdir().expect("a directory");
        let maps = FakeMaps::new(SIZES);
        let mut daemon = runtime.block_on(daemon(&source, &maps, &state_dir));
        let _guard = runtime.enter();
        daemon.first_load();
        assert_eq!(view_text(&maps), render_desired(daemon.core.engine.desired()), "{}", source.display());
        let mut text = view_text(&maps);
        let status = told(&state_dir);
        for problem in &status.problems {
            _ = write!(text, "\n{:?}\n    {problem}\n", problem.severity);
        }
        assert!(status.ready);
        let expected = source.join("expected.txt");
        if std::env::var_os("FAIRLEAD_UPDATE_GOLDENS").is_some() {
            fs::write(&expected, &text).expect("write a golden");
        }
        if fs::read_to_string(&expected).unwrap_or_default() != text {
            differing.push(format!("{}:\n{text}", expected.display()));
        }
        count += 1;
    }
    assert!(count >= 6, "goldens are missing");
    assert!(differing.is_empty(), "not as expected:\n{}", differing.join("\n"));
}

/// A daemon whose source is edited, and its successor on the same maps.
struct Bench {
    source: TempDir,
    state_dir: TempDir,
    maps: FakeMaps,
}

impl Bench {
    fn new() -> Self {
        let directory = || tempfile::tempdir().expect("a directory");
        Self { source: directory(), state_dir: directory(), maps: FakeMaps::new(SIZES) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.source.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("write");
    }

    async fn start(&self) -> Daemon<FakeMaps> {
        let mut daemon = daemon(self.source.path(), &self.maps, &self.state_dir).await;
        daemon.first_load();
        daemon
    }

    /// Lets the daemon work until the maps and the status are as wanted.
    async fn until(&self, daemon: &mut Daemon<FakeMaps>, what: &str, wanted: impl Fn(&str, &Status) -> bool) {
        let mut signals = Signals {
            hangup: signal(super::SignalKind::hangup()).expect("a signal"),
            terminate: signal(super::SignalKind::terminate()).expect("a signal"),
            interrupt: signal(super::SignalKind::interrupt()).expect("a signal"),
        };
        let work = async {
            while !wanted(&frontends_text(&self.maps), &told(&self.state_dir)) {
                let wakeup = daemon.next(&mut signals).await.expect("a wake-up");
                assert!(!matches!(wakeup, Wakeup::Terminate(_)));
                daemon.handle(wakeup);
            }
        };
        if tokio::time::timeout(PATIENCE, work).await.is_err() {
            panic!("{what}: not within {PATIENCE:?}.\n{}\n{:#?}", frontends_text(&self.maps), told(&self.state_dir));
        }
    }
}

fn service(name: &str, vip: u8, backend: u8) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: 10.96.0.{vip}, ports: [{{port: 80}}]}}\n\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\n\
         ports: [{{port: 8080}}]\nendpoints: [{{addresses: [10.244.0.{backend}]}}]\n"
    )
}

fn served(vip: u8, backend: u8) -> String {
    format!("10.96.0.{vip}:80/TCP\n    10.244.0.{backend}:8080\n")
}

#[test]
fn files_may_be_written_replaced_renamed_and_removed() {
    runtime().block_on(async {
        let bench = Bench::new();
        let mut daemon = bench.start().await;
        assert_eq!(frontends_text(&bench.maps), "");
        assert!(told(&bench.state_dir).ready, "an empty directory is a complete source");

        bench.write("a.yaml", &service("a", 1, 1));
        bench.until(&mut daemon, "a new file", |maps, _| maps == served(1, 1)).await;
        bench.write("a.yaml", &service("a", 1, 2));
        bench.until(&mut daemon, "written in place", |maps, _| maps == served(1, 2)).await;
        bench.write(".a.yaml.swp", "an editor's own");
        bench.write("4913", "an editor's own");
        bench.write("a.yaml.new", &service("a", 1, 3));
        fs::rename(bench.path("a.yaml.new"), bench.path("a.yaml")).expect("rename");
        bench.until(&mut daemon, "replaced by rename", |maps, _| maps == served(1, 3)).await;
        fs::rename(bench.path("a.yaml"), bench.path("b.yaml")).expect("rename");
        bench.write("c.yaml", &service("c", 3, 1));
        bench
            .until(&mut daemon, "renamed, and another", |maps, status| {
                maps == served(1, 3) + &served(3, 1) && status.files == Some(2)
            })
            .await;
        fs::remove_file(bench.path("b.yaml")).expect("remove");
        bench.until(&mut daemon, "removed", |maps, _| maps == served(3, 1)).await;
        assert_eq!(told(&bench.state_dir).tally.failed, 0);
    });
}

#[test]
fn a_file_that_is_being_written_is_not_read() {
    use std::io::Write as _;
    runtime().block_on(async {
        let bench = Bench::new();
        bench.write("a.yaml", &service("a", 1, 1));
        let mut daemon = bench.start().await;
        // Truncated and half written; then something else happens, and only then is it finished.
        let text = service("a", 1, 2);
        let (half, rest) = text.split_at(text.find("---").expect("two documents"));
        let mut file = fs::File::create(bench.path("a.yaml")).expect("truncate");
        file.write_all(half.as_bytes()).expect("write");
        bench.write("b.yaml", &service("b", 2, 1));
        bench.until(&mut daemon, "the other file", |maps, _| maps == served(1, 1) + &served(2, 1)).await;
        file.write_all(rest.as_bytes()).expect("write");
        drop(file);
        bench.until(&mut daemon, "the finished file", |maps, _| maps == served(1, 2) + &served(2, 1)).await;
    });
}

#[test]
fn a_bad_file_keeps_its_last_good_state_and_only_its_own() {
    runtime().block_on(async {
        let bench = Bench::new();
        bench.write("a.yaml", &service("a", 1, 1));
        bench.write("b.yaml", &service("b", 2, 1));
        let mut daemon = bench.start().await;
        bench.write("a.yaml", "kind: Service\n\tname: a\n");
        bench.write("b.yaml", &service("b", 2, 2));
        bench
            .until(&mut daemon, "bad", |maps, status| {
                maps == served(1, 1) + &served(2, 2) && status.problems.len() == 1
            })
            .await;
        let problem = told(&bench.state_dir).problems.remove(0).to_string();
        assert!(problem.starts_with("a.yaml:2:1: a tab"), "{problem}");
        assert!(problem.ends_with("it keeps its last good state"), "{problem}");
        bench.write("a.yaml", &service("a", 1, 3));
        bench
            .until(&mut daemon, "good again", |maps, status| {
                maps == served(1, 3) + &served(2, 2) && status.problems.is_empty()
            })
            .await;
    });
}

#[test]
fn a_restart_with_a_bad_file_keeps_what_is_in_the_kernel() {
    runtime().block_on(async {
        let bench = Bench::new();
        bench.write("a.yaml", &service("a", 1, 1));
        bench.write("b.yaml", &service("b", 2, 1));
        drop(bench.start().await);
        bench.write("a.yaml", "kind: Service\n\tname: a\n");
        bench.write("b.yaml", &service("b", 2, 2));
        let mut daemon = bench.start().await;
        assert_eq!(frontends_text(&bench.maps), served(1, 1) + &served(2, 2));
        let status = told(&bench.state_dir);
        // Each a frontend and its address.
        assert_eq!((status.ready, status.restored, status.held_over.len()), (true, 4, 2));
        bench.write("a.yaml", "# Nothing.\n");
        bench
            .until(&mut daemon, "good again", |maps, status| maps == served(2, 2) && status.held_over.is_empty())
            .await;
    });
}

#[test]
fn a_restart_on_unchanged_files_writes_nothing() {
    runtime().block_on(async {
        let bench = Bench::new();
        bench.write("a.yaml", &(service("a", 1, 1) + "---\n" + &service("b", 2, 1)));
        let mut daemon = bench.start().await;
        bench.write("a.yaml", &(service("a", 1, 2) + "---\n" + &service("b", 2, 1)));
        bench.until(&mut daemon, "an update", |maps, _| maps == served(1, 2) + &served(2, 1)).await;
        drop(daemon);
        let before = bench.maps.tables.borrow().clone();
        drop(bench.start().await);
        assert_eq!(*bench.maps.tables.borrow(), before);
        let status = told(&bench.state_dir);
        assert_eq!((status.restored, status.tally.operations), (4, 0), "two frontends and their addresses");
    });
}

#[test]
fn a_mounted_config_map_is_switched_as_a_whole() {
    use std::os::unix::fs::symlink;
    runtime().block_on(async {
        let bench = Bench::new();
        for (version, backend) in [("..2026_1", 1), ("..2026_2", 2)] {
            fs::create_dir(bench.path(version)).expect("a version");
            bench.write(&format!("{version}/a.yaml"), &service("a", 1, backend));
        }
        symlink("..2026_1", bench.path("..data")).expect("symlink");
        symlink("..data/a.yaml", bench.path("a.yaml")).expect("symlink");
        let mut daemon = bench.start().await;
        assert_eq!(frontends_text(&bench.maps), served(1, 1));
        symlink("..2026_2", bench.path("..data_tmp")).expect("symlink");
        fs::rename(bench.path("..data_tmp"), bench.path("..data")).expect("rename");
        bench.until(&mut daemon, "switched", |maps, _| maps == served(1, 2)).await;
    });
}

#[test]
fn an_object_may_move_from_file_to_file() {
    runtime().block_on(async {
        let bench = Bench::new();
        bench.write("z.yaml", &service("a", 1, 1));
        let mut daemon = bench.start().await;
        let written = bench.maps.tables.borrow().clone();
        bench.write("b.yaml", &service("a", 1, 1));
        bench.until(&mut daemon, "twice", |_, status| status.problems.len() == 2).await;
        let problem = told(&bench.state_dir).problems.remove(0).to_string();
        assert_eq!(problem, "z.yaml:3: Service default/a: ignored, b.yaml:3 states it already; delete one of them");
        fs::remove_file(bench.path("z.yaml")).expect("remove");
        bench.until(&mut daemon, "moved", |_, status| status.problems.is_empty()).await;
        assert_eq!(*bench.maps.tables.borrow(), written, "nothing but what was written at the start");
    });
}

#[test]
fn a_source_directory_that_vanishes_stays_in_force() {
    runtime().block_on(async {
        let bench = Bench::new();
        let (source, away) = (bench.path("source"), bench.path("away"));
        fs::create_dir(&source).expect("a directory");
        bench.write("source/a.yaml", &service("a", 1, 1));
        let mut daemon = daemon(&source, &bench.maps, &bench.state_dir).await;
        daemon.first_load();
        fs::remove_dir_all(&source).expect("remove");
        bench.until(&mut daemon, "gone", |_, status| status.problems.len() == 1).await;
        assert_eq!(frontends_text(&bench.maps), served(1, 1));
        fs::create_dir(&away).expect("a directory");
        bench.write("away/a.yaml", &service("a", 1, 2));
        fs::rename(&away, &source).expect("rename");
        bench.until(&mut daemon, "back", |maps, status| maps == served(1, 2) && status.problems.is_empty()).await;
    });
}

#[test]
fn writes_that_fail_are_told_and_tried_again() {
    runtime().block_on(async {
        let bench = Bench::new();
        bench.write("a.yaml", &service("a", 1, 1));
        let mut daemon = daemon(bench.source.path(), &bench.maps, &bench.state_dir).await;
        *bench.maps.failures.borrow_mut() = vec![true, true, true];
        daemon.first_load();
        let status = told(&bench.state_dir);
        assert!(!status.ready && status.last_error.is_some(), "{status:#?}");
        bench
            .until(&mut daemon, "written in the end", |maps, status| {
                maps == served(1, 1) && status.ready && status.last_error.is_none()
            })
            .await;
    });
}

#[test]
fn a_bad_file_that_comes_later_holds_nothing() {
    runtime().block_on(async {
        let bench = Bench::new();
        bench.write("a.yaml", &service("a", 1, 1));
        bench.write("b.yaml", &service("b", 2, 1));
        let mut daemon = bench.start().await;
        bench.write("new.yaml", "kind: Service\n\tname: a\n");
        bench.until(&mut daemon, "bad", |_, status| status.problems.len() == 1).await;
        fs::remove_file(bench.path("a.yaml")).expect("remove");
        bench.until(&mut daemon, "removed", |maps, _| maps == served(2, 1)).await;
    });
}
