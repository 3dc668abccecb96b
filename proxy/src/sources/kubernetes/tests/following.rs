//! What a server does every day.

use fairlead_conformance::scripted::Break;

use super::*;

#[tokio::test]
async fn a_streamed_list_and_what_follows_are_one_request() {
    let (server, mut stage) = world().await;
    put_service(&server, 1, 7);
    put_service(&server, 4, 0);
    server.delete("Service", "default", "web-2");
    server.delete("EndpointSlice", "default", "web-3-a");
    server.delete("Node", "", "node-1");
    stage.same(&server).await;
    assert_eq!(stage.held["Service default/web-1"], "10.96.7.1");
    assert_eq!(stage.deletions, 3);
    assert_eq!(Stage::asked(&server), ["streamed list"]);
    assert!(stage.problems().is_empty(), "{:?}", stage.problems());
}

#[tokio::test]
async fn only_what_is_for_us_is_asked_for() {
    let (server, _stage) = world().await;
    let of = |path: &str| server.requests().into_iter().find(|request| request.path == path).expect("asked");
    let services = of("/api/v1/services");
    assert_eq!(services.parameter("labelSelector"), Some("!service.kubernetes.io/service-proxy-name"));
    assert_eq!(services.parameter("fieldSelector"), Some("spec.clusterIP!=None"));
    let slices = of("/apis/discovery.k8s.io/v1/endpointslices");
    assert_eq!(slices.parameter("labelSelector"), Some("!service.kubernetes.io/headless"));
    assert_eq!(of("/api/v1/nodes").parameter("allowWatchBookmarks"), Some("true"));
}

#[tokio::test]
async fn a_service_that_is_given_to_another_proxy_goes_and_comes_back() {
    let (server, mut stage) = world().await;
    let labelled = |label: bool| {
        let labels = if label { json!({"service.kubernetes.io/service-proxy-name": "other"}) } else { json!({}) };
        json!({
            "kind": "Service", "apiVersion": "v1",
            "metadata": {"name": "web-1", "namespace": "default", "labels": labels},
            "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}
        })
    };
    server.put(labelled(true));
    stage.until("it to go", |stage| !stage.held.contains_key("Service default/web-1")).await;
    server.put(labelled(false));
    stage.same(&server).await;
}

#[tokio::test]
async fn a_server_without_streamed_lists_is_asked_for_pages() {
    let server = Server::start().expect("a port");
    server.streams(false);
    for number in 0..1203_u32 {
        server.put(json!({
            "kind": "Service", "apiVersion": "v1", "metadata": {"name": format!("s{number}"), "namespace": "many"},
            "spec": {"clusterIP": format!("10.97.{}.{}", number / 250, number % 250 + 1), "ports": [{"port": 80}]}
        }));
    }
    let mut stage = Stage::synced(&server).await;
    stage.same(&server).await;
    assert_eq!(Stage::asked(&server)[..4], ["streamed list", "page", "next page", "next page"]);
    server.delete("Service", "many", "s7");
    stage.same(&server).await;
    assert_eq!(Stage::asked(&server)[4..], ["watch"]);
}

#[tokio::test]
async fn a_watch_that_ends_in_peace_goes_on_where_it_was() {
    let (server, mut stage) = world().await;
    put_service(&server, 5, 0);
    stage.same(&server).await;
    let version = server.version();
    server.break_watches(Break::End);
    stage.asks(&server, &["streamed list", "watch"]).await;
    put_service(&server, 6, 0);
    server.delete("Service", "default", "web-1");
    stage.same(&server).await;
    let mut asked = server.requests().into_iter().filter(|request| request.path == SERVICES);
    let last = asked.next_back().expect("asked");
    assert_eq!(last.parameter("resourceVersion"), Some(version.to_string().as_str()));
    assert!(!Stage::asked(&server)[1..].contains(&"streamed list".to_owned()));
}

#[tokio::test]
async fn bookmarks_move_a_quiet_watch_past_a_compaction() {
    let (server, mut stage) = world().await;
    server.advance(1000);
    // Sent before the end.
    server.bookmark();
    server.compact();
    server.break_watches(Break::End);
    stage.asks(&server, &["streamed list", "watch"]).await;
    put_service(&server, 6, 0);
    stage.same(&server).await;
    stage.asks(&server, &["streamed list", "watch"]).await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_costs_only_itself() {
    let (server, mut stage) = world().await;
    let broken = |port: serde_json::Value, ip: &str| {
        json!({
            "kind": "Service", "apiVersion": "v1", "metadata": {"name": "web-1", "namespace": "default"},
            "spec": {"clusterIP": ip, "ports": [{"port": port}]}
        })
    };
    server.put(broken(json!("eighty"), "10.96.0.1"));
    put_service(&server, 9, 0);
    stage.until("web-9", |stage| stage.held.contains_key("Service default/web-9")).await;
    assert_eq!(stage.held["Service default/web-1"], "10.96.0.1", "its last good state");
    stage.until("a line about it", |stage| !stage.problems().is_empty()).await;
    let problem = &stage.problems()[0];
    assert!(problem.contains("default/web-1") && problem.ends_with("keeps its last good state"), "{problem}");
    server.put(broken(json!(0), "10.96.3.1"));
    stage.until("its new address", |stage| stage.held["Service default/web-1"] == "10.96.3.1").await;
    stage.until("a remark", |stage| stage.problems()[0].contains("spec.ports[0].port: 0 is not between")).await;
    server.delete("Service", "default", "web-1");
    stage.until("no line", |stage| stage.problems().is_empty()).await;
    stage.same(&server).await;
}
