//! What a server does when it or the way to it is ill.

use fairlead_conformance::scripted::Break;

use super::*;

/// What happens while we do not see it: something new, something different, something gone.
fn meanwhile(server: &Server) {
    put_service(server, 8, 0);
    put_service(server, 1, 8);
    server.delete("Service", "default", "web-2");
    server.delete("EndpointSlice", "default", "web-2-a");
}

#[tokio::test]
async fn a_watch_that_is_reset_goes_on_where_it_was() {
    let (server, mut stage) = world().await;
    server.break_watches(Break::Reset);
    meanwhile(&server);
    stage.same(&server).await;
    assert_eq!(Stage::asked(&server), ["streamed list", "version", "watch"]);
    assert!(stage.problems().is_empty(), "a hiccup is no news: {:?}", stage.problems());
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_given_up() {
    let (server, mut stage) = world().await;
    server.break_watches(Break::Silence);
    meanwhile(&server);
    stage.same(&server).await;
    assert_eq!(Stage::asked(&server), ["streamed list", "version", "watch"]);
}

#[tokio::test]
async fn a_gap_in_the_history_ends_in_one_list_and_what_was_deleted_in_it_goes() {
    for refuse in [true, false] {
        let (server, mut stage) = world().await;
        if refuse {
            // 410 as the answer, not within it.
            fault(&server, For::Watch, Fault::Status(410, None));
        }
        server.break_watches(Break::End);
        meanwhile(&server);
        server.compact();
        stage.same(&server).await;
        assert_eq!(stage.deletions, 2);
        let lists = Stage::asked(&server).iter().filter(|asked| *asked == "streamed list").count();
        assert_eq!(lists, 2, "{:?}", Stage::asked(&server));
    }
}

#[tokio::test]
async fn an_error_within_a_watch_is_followed_by_another_watch_or_list() {
    for code in [410, 500, 504] {
        let (server, mut stage) = world().await;
        server.break_watches(Break::Error(code));
        meanwhile(&server);
        stage.same(&server).await;
        let again = if code == 410 { "streamed list" } else { "watch" };
        assert_eq!(Stage::asked(&server).last().map(String::as_str), Some(again));
    }
}

#[tokio::test]
async fn a_list_that_breaks_takes_nothing_away() {
    for (streams, broken) in [
        (true, Fault::ResetAfter(1)),
        (true, Fault::SilentAfter(1)),
        (true, Fault::NoEnd),
        (false, Fault::ResetAfter(150)),
        (false, Fault::SilentAfter(150)),
        (false, Fault::Body("{\"kind\":\"ServiceList\",\"items\":[]}".to_owned())),
        (false, Fault::Body("{}".to_owned())),
        (false, Fault::Body("<html>please log in</html>".to_owned())),
        (false, Fault::Status(503, None)),
    ] {
        let (server, mut stage) = world().await;
        server.streams(streams);
        let which = if streams { For::StreamedList } else { For::List };
        fault(&server, which, broken.clone());
        if !streams {
            // A server whose streams do not end is asked for pages at once.
            fault(&server, which, broken.clone());
        }
        server.compact();
        server.advance(1);
        server.compact();
        let before = stage.held.clone();
        // Nothing is gone, so nothing may go, however often lists break.
        server.break_watches(Break::Error(410));
        stage.until("the faults to be met", |_| server.faults_left() == 0).await;
        put_service(&server, 8, 0);
        stage.same(&server).await;
        assert_eq!(stage.deletions, 0, "{broken:?}");
        assert!(before.iter().all(|(name, state)| stage.held.get(name) == Some(state)), "{broken:?}");
    }
}

#[tokio::test]
async fn nothing_counts_before_the_lists_are_complete() {
    let server = Server::start().expect("a port");
    put_service(&server, 1, 0);
    put_slice(&server, 1, 0);
    server.fault(For::StreamedList, "/endpointslices", Fault::SilentAfter(1));
    server.fault(For::List, "/endpointslices", Fault::Status(500, None));
    let mut stage = Stage::open(&server).await;
    let lists = |stage: &Stage| {
        let synced = stage.source.is_synced();
        assert!(!synced || server.faults_left() == 0, "slices have not been listed");
        synced
    };
    stage.until("the service", |stage| stage.held.contains_key("Service default/web-1") || lists(stage)).await;
    stage.until("the lists", lists).await;
    stage.same(&server).await;
    assert!(stage.problems().is_empty(), "{:?}", stage.problems());
}

#[tokio::test]
async fn a_server_that_never_ends_the_initial_events_is_asked_for_pages() {
    let server = Server::start().expect("a port");
    put_service(&server, 1, 0);
    put_slice(&server, 1, 0);
    fault(&server, For::StreamedList, Fault::NoEnd);
    let mut stage = Stage::synced(&server).await;
    stage.same(&server).await;
    assert_eq!(Stage::asked(&server)[..2], ["streamed list", "page"]);
    // An older server, to which the parameter means nothing: synthetic events, then real ones.
    let deleted = r#"{"type":"DELETED","object":{"metadata":{"name":"x","namespace":"y","resourceVersion":"7"}}}"#;
    let server = Server::start().expect("a port");
    put_service(&server, 1, 0);
    fault(&server, For::StreamedList, Fault::Lines(vec![deleted.to_owned()]));
    let mut stage = Stage::synced(&server).await;
    stage.same(&server).await;
    assert_eq!(Stage::asked(&server)[..2], ["streamed list", "page"]);
}

#[tokio::test]
async fn a_token_of_a_page_that_has_expired_ends_in_a_whole_list() {
    let server = Server::start().expect("a port");
    server.streams(false);
    for number in 0..600_u32 {
        server.put(json!({
            "kind": "Service", "apiVersion": "v1", "metadata": {"name": format!("s{number}"), "namespace": "many"},
            "spec": {"clusterIP": format!("10.97.{}.{}", number / 250, number % 250 + 1), "ports": [{"port": 80}]}
        }));
    }
    fault(&server, For::NextPage, Fault::Status(410, None));
    let mut stage = Stage::synced(&server).await;
    stage.same(&server).await;
    let asked = Stage::asked(&server);
    assert_eq!(asked[1..4], ["page", "next page", "whole list"].map(str::to_owned), "{asked:?}");
}

#[tokio::test]
async fn a_server_that_was_restored_from_a_backup_is_believed() {
    let (server, mut stage) = world().await;
    let backup = server.backup();
    server.advance(5000);
    put_service(&server, 7, 0);
    put_service(&server, 1, 9);
    server.delete("Service", "default", "web-3");
    stage.same(&server).await;
    server.restore(backup);
    stage.same(&server).await;
    assert_eq!(stage.held["Service default/web-1"], "10.96.0.1");
    assert!(stage.held.contains_key("Service default/web-3"));
    // From then on its versions are the ones that count.
    put_service(&server, 1, 2);
    stage.same(&server).await;
}

#[tokio::test]
async fn events_from_the_past_are_followed_by_a_list() {
    let (server, mut stage) = world().await;
    put_service(&server, 1, 1);
    stage.same(&server).await;
    let old = r#"{"type":"MODIFIED","object":{"kind":"Service","metadata":{"name":"web-1","namespace":"default","resourceVersion":"1001"},"spec":{"clusterIP":"10.96.0.1","ports":[{"port":80}]}}}"#;
    fault(&server, For::Watch, Fault::Lines(vec![old.to_owned()]));
    server.break_watches(Break::End);
    stage
        .until("the list behind it", |_| {
            Stage::asked(&server).iter().filter(|asked| *asked == "streamed list").count() == 2
        })
        .await;
    put_service(&server, 2, 1);
    stage.same(&server).await;
    assert_eq!(stage.held["Service default/web-1"], "10.96.1.1");
}

#[tokio::test]
async fn the_same_event_twice_is_one() {
    let (server, mut stage) = world().await;
    let version = server.version() + 1;
    put_service(&server, 1, 1);
    stage.same(&server).await;
    let same = format!(
        r#"{{"type":"MODIFIED","object":{{"kind":"Service","metadata":{{"name":"web-1","namespace":"default","resourceVersion":"{version}"}},"spec":{{"clusterIP":"10.96.1.1","ports":[{{"port":80}}]}}}}}}"#
    );
    fault(&server, For::Watch, Fault::Lines(vec![same.clone(), same]));
    server.break_watches(Break::End);
    put_service(&server, 2, 1);
    stage.same(&server).await;
    assert!(!Stage::asked(&server)[1..].contains(&"streamed list".to_owned()), "{:?}", Stage::asked(&server));
}

#[tokio::test]
async fn a_server_that_is_busy_is_left_alone_for_as_long_as_it_says() {
    let (server, mut stage) = world().await;
    fault(&server, For::Watch, Fault::Status(429, Some(1)));
    fault(&server, For::Watch, Fault::Status(503, None));
    server.break_watches(Break::End);
    let begun = std::time::Instant::now();
    meanwhile(&server);
    stage.same(&server).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "asked again after {:?}", begun.elapsed());
    assert_eq!(server.faults_left(), 0);
}

#[tokio::test]
async fn while_the_server_is_away_all_stays_and_one_line_says_so() {
    let (server, mut stage) = world().await;
    let held = stage.held.clone();
    server.go_away();
    stage
        .until("a line about all three", |stage| {
            stage
                .problems()
                .iter()
                .any(|text| text.starts_with("Services, EndpointSlices and Nodes cannot be read from"))
        })
        .await;
    let told = stage.problems();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("Connection refused") && told[0].contains("stays in force"), "{told:?}");
    let failures = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = failures.clone();
    stage.source.observe_restarts(move |_, why| {
        assert_eq!(why, "connection");
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    let more = async {
        while failures.load(std::sync::atomic::Ordering::Relaxed) < 6 {
            stage.source.rescan();
            tokio::task::yield_now().await;
        }
    };
    timeout(patience(), more).await.expect("more tries");
    assert_eq!(stage.problems(), told, "the line stays the same however often it is tried");
    assert_eq!(stage.held, held);
    meanwhile(&server);
    server.come_back().expect("listen again");
    stage.source.rescan();
    stage.same(&server).await;
    stage.until("all well", |stage| stage.problems().is_empty()).await;
}

#[tokio::test]
async fn a_server_that_is_away_at_the_start_is_waited_for() {
    let server = Server::start().expect("a port");
    put_service(&server, 1, 0);
    server.go_away();
    let mut stage = Stage::open(&server).await;
    stage.until("a line", |stage| !stage.problems().is_empty()).await;
    assert!(!stage.source.is_synced());
    let told = stage.problems();
    assert!(told[0].contains("nothing is changed before they have been read once"), "{told:?}");
    server.come_back().expect("listen again");
    stage.source.rescan();
    stage.until("the lists", |stage| stage.source.is_synced()).await;
    stage.same(&server).await;
}

#[tokio::test]
async fn an_account_that_may_not_see_nodes_is_served_without_zones() {
    let server = Server::start().expect("a port");
    put_service(&server, 1, 0);
    for _ in 0..64 {
        server.fault(For::Any, "/api/v1/nodes", Fault::Status(403, None));
    }
    let mut stage = Stage::open(&server).await;
    stage.until("the rest", |stage| stage.source.is_synced()).await;
    let told = stage.problems();
    assert!(told.iter().any(|text| text.contains("Nodes") && text.contains("allow get, list and watch")), "{told:?}");
}
