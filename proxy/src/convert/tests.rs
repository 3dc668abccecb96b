//! One object, written and sent: the same fact, the same remarks.

use super::api::{Collection, Event};
use super::shapes::Service as ServiceShape;
use super::*;

/// What YAML of one object says.
fn written(text: &str) -> (Result<Converted, Fault>, Vec<String>) {
    let mut rules = Rules::default();
    let mut remarks = Remarks::default();
    let head: Head = serde_saphyr::from_str(text).expect("YAML");
    let converted = match head.kind() {
        Kind::Service => {
            serde_saphyr::from_str::<ServiceShape<Written>>(text).expect("shape").convert(&mut rules, &mut remarks)
        }
        Kind::Slice => serde_saphyr::from_str::<Slice<Written>>(text).expect("shape").convert(&mut rules, &mut remarks),
        Kind::Node => serde_saphyr::from_str::<Node<Written>>(text).expect("shape").convert(&mut rules, &mut remarks),
        other => panic!("{other:?}"),
    };
    (converted, remarks.list.into_iter().map(|remark| remark.text).collect())
}

/// What the same object says as an API server sends it.
fn sent(text: &str) -> (Result<Converted, Fault>, Vec<String>) {
    let value: serde_json::Value = serde_saphyr::from_str(text).expect("YAML");
    let collection = match value["kind"].as_str().expect("a kind") {
        "Service" => Collection::Services,
        "EndpointSlice" => Collection::Slices,
        _ => Collection::Nodes,
    };
    let line = format!("{{\"type\":\"ADDED\",\"object\":{value}}}");
    let event = collection.event(line.as_bytes(), &mut Rules::default()).expect("a line");
    let Event::Put(object) = event else { panic!("{event:?}") };
    (object.converted, object.remarks.into_iter().map(|remark| remark.text).collect())
}

/// The fact, which is the same both ways, and the remarks.
fn both(text: &str) -> (Converted, Vec<String>) {
    let (converted, remarks) = written(text);
    assert_eq!(sent(text), (converted.clone(), remarks.clone()), "{text}");
    (converted.expect("no fault"), remarks)
}

fn service(spec: &str) -> (ServiceFact, Vec<String>) {
    let text = format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\n{spec}");
    match both(&text) {
        (Converted::Service(fact), remarks) => ((*fact).clone(), remarks),
        other => panic!("{other:?}"),
    }
}

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().expect("an address")
}

#[test]
fn every_field_of_a_service_that_decides_something_is_read() {
    let text = "\
apiVersion: v1
kind: Service
metadata:
  {name: web, namespace: shop, uid: 1-2-3, creationTimestamp: '1970-01-01T00:01:00Z', managedFields: [{a: 1}]}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.10
  clusterIPs: [010.96.0.010, 'fd00::10']
  externalIPs: [192.0.2.1, 192.0.2.1, '2001:db8::1']
  loadBalancerSourceRanges: [' 10.0.0.0/8 ', 'fd00::1/64']
  externalTrafficPolicy: Local
  internalTrafficPolicy: Cluster
  healthCheckNodePort: 32000
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
  allocateLoadBalancerNodePorts: false
  ports:
  - {name: http, port: 80, targetPort: web, nodePort: 30080}
  - {name: dns, port: 53, protocol: UDP, nodePort: 0}
status:
  loadBalancer:
    ingress:
    - {ip: 198.51.100.1}
    - {ip: 198.51.100.2, ipMode: VIP}
    - {ip: 198.51.100.3, ipMode: Proxy}
    - {hostname: lb.example}
";
    let (converted, remarks) = both(text);
    let port = |name: &str, protocol, port, node_port| fairlead_proxy_model::ServicePort {
        name: name.into(),
        protocol,
        port,
        node_port,
    };
    let expected = ServiceFact {
        uid: "1-2-3".to_owned(),
        created: Some(60),
        cluster_ips: vec![ip("10.96.0.10"), ip("fd00::10")],
        external_ips: vec![ip("192.0.2.1"), ip("2001:db8::1")],
        load_balancer_ips: vec![ip("198.51.100.1"), ip("198.51.100.2")],
        source_ranges: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/64".parse().unwrap()],
        ports: vec![port("http", Protocol::Tcp, 80, Some(30080)), port("dns", Protocol::Udp, 53, None)],
        internal_policy: fairlead_proxy_model::TrafficPolicy::Cluster,
        external_policy: fairlead_proxy_model::TrafficPolicy::Local,
        affinity: Some(60),
        health_check_node_port: Some(32000),
        ..ServiceFact::new(ObjectName::new("shop", "web"))
    };
    assert_eq!(converted, Converted::Service(Arc::new(expected)));
    assert_eq!(remarks, [""; 0]);
}

#[test]
fn what_an_api_server_would_refuse_costs_itself_and_one_remark() {
    for (spec, remark, check) in [
        ("{clusterIP: 10.96.0.1, ports: [{port: 0}, {name: b, port: 81}]}", "spec.ports[0].port: 0 is not", |fact| {
            fact.ports.len() == 1 && fact.ports[0].port == 81
        }),
        ("{clusterIP: 10.96.0.1, ports: [{port: 70000}]}", "spec.ports[0].port: 70000", |fact| fact.ports.is_empty()),
        ("{clusterIP: 10.96.0.1, ports: [{name: a}]}", "spec.ports[0].port: missing", |fact| fact.ports.is_empty()),
        (
            "{clusterIP: 10.96.0.1, ports: [{port: 1, protocol: HTTP}]}",
            "spec.ports[0].protocol: \"HTTP\" is none",
            |fact| fact.ports.is_empty(),
        ),
        ("{clusterIP: 10.96.0.1, ports: [{port: 1}, {port: 2}]}", "the name \"\" is used twice", |fact| {
            fact.ports.len() == 1
        }),
        (
            "{clusterIP: 10.96.0.1, ports: [{name: a, port: 1}, {name: b, port: 1}]}",
            "spec.ports[1]: 1/TCP twice",
            |fact| fact.ports.len() == 1,
        ),
        (
            "{clusterIP: 10.96.0.1, ports: [{port: 1, nodePort: 30000}]}",
            "spec.ports[0].nodePort: 30000 of a Service without NodePorts",
            |fact| fact.ports[0].node_port.is_none(),
        ),
        (
            "{type: NodePort, clusterIP: 10.96.0.1, ports: [{port: 1, nodePort: 99999}]}",
            "spec.ports[0].nodePort: 99999 is not",
            |fact| fact.ports[0].node_port.is_none(),
        ),
        ("{clusterIPs: [10.96.0.1, 10.96.0.2]}", "10.96.0.2 is the second of its family", |fact| {
            fact.cluster_ips == [ip("10.96.0.1")]
        }),
        ("{clusterIP: 10.96.0.1, externalIPs: [127.0.0.1, 192.0.2.1]}", "127.0.0.1 is loopback", |fact| {
            fact.external_ips == [ip("192.0.2.1")]
        }),
        ("{clusterIP: 10.96.0.1, externalIPs: [fe80::1]}", "fe80::1 is link-local", |fact| {
            fact.external_ips.is_empty()
        }),
        ("{clusterIP: 10.96.0.1, externalIPs: [example]}", "\"example\" is not an IP address", |fact| {
            fact.external_ips.is_empty()
        }),
        ("{clusterIP: 10.96.0.1, internalTrafficPolicy: local}", "\"local\" is neither", |fact| {
            fact.internal_policy == fairlead_proxy_model::TrafficPolicy::Cluster
        }),
        ("{clusterIP: 10.96.0.1, sessionAffinity: Cookie}", "\"Cookie\" is neither", |fact| fact.affinity.is_none()),
        (
            "{clusterIP: 10.96.0.1, sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}}",
            "0 is not between 1 and 86400; taken for 1",
            |fact| fact.affinity == Some(1),
        ),
    ] as [(&str, &str, fn(&ServiceFact) -> bool); 15]
    {
        let (fact, remarks) = service(&format!("spec: {spec}"));
        assert!(check(&fact), "{spec}: {fact:?}");
        assert_eq!(remarks.len(), 1, "{spec}: {remarks:?}");
        assert!(remarks[0].starts_with("Service shop/web: spec."), "{remarks:?}");
        assert!(remarks[0].contains(remark), "{remarks:?}");
    }
}

#[test]
fn defaults_are_the_api_servers() {
    let (fact, remarks) = service("spec: {clusterIP: 10.96.0.1, sessionAffinity: ClientIP, healthCheckNodePort: 9}");
    assert_eq!((fact.affinity, fact.health_check_node_port), (Some(10_800), None));
    assert_eq!(remarks, [""; 0]);
    let (fact, _) = service(
        "spec: {type: LoadBalancer, externalTrafficPolicy: Local, clusterIP: 10.96.0.1, healthCheckNodePort: 0}",
    );
    assert_eq!(fact.health_check_node_port, None);
}

#[test]
fn source_ranges_that_cannot_be_read_admit_nobody() {
    let status = "status: {loadBalancer: {ingress: [{ip: 198.51.100.1}]}}";
    let (fact, remarks) =
        service(&format!("spec: {{clusterIP: 10.96.0.1, loadBalancerSourceRanges: [10.0.0.0]}}\n{status}"));
    assert_eq!((fact.load_balancer_ips.len(), fact.source_ranges.len()), (0, 0));
    assert!(remarks[1].contains("not served at its load balancer's addresses"), "{remarks:?}");
    let (fact, remarks) =
        service(&format!("spec: {{clusterIP: 10.96.0.1, loadBalancerSourceRanges: [x, 10.0.0.0/8]}}\n{status}"));
    assert_eq!((fact.load_balancer_ips.len(), fact.source_ranges.len(), remarks.len()), (1, 1, 1));
}

#[test]
fn services_that_are_not_for_us_are_ignored() {
    let text = |metadata: &str, spec: &str| {
        format!("apiVersion: v1\nkind: Service\nmetadata: {{name: web{metadata}}}\nspec: {spec}\n")
    };
    for (text, why) in [
        (text("", "{clusterIP: None}"), "headless"),
        (text("", "{clusterIP: None, clusterIPs: [None]}"), "headless"),
        (text("", "{type: ExternalName, externalName: a.example}"), "ExternalName"),
        (
            text(", labels: {service.kubernetes.io/service-proxy-name: other}", "{clusterIP: 10.96.0.1}"),
            "left to the service proxy other",
        ),
    ] {
        let (Converted::Ignored(told), remarks) = both(&text) else { panic!("{text}") };
        assert!(told.contains(why) && told.starts_with("Service default/web: "), "{told}");
        assert_eq!(remarks, [""; 0]);
    }
    // Nobody assigns an address to a file; an API server will.
    let none = text("", "{ports: [{port: 80}]}");
    assert!(written(&none).0.expect_err("a fault").text.contains("nobody assigns one"));
    assert!(matches!(sent(&none).0, Ok(Converted::Ignored(_))));
    // With a name of our own only services of that name are ours.
    let named = text(", labels: {service.kubernetes.io/service-proxy-name: ours}", "{clusterIP: 10.96.0.1}");
    for (text, ours) in [(&named, true), (&text("", "{clusterIP: 10.96.0.1}"), false)] {
        let shape: ServiceShape<Written> = serde_saphyr::from_str(text).expect("shape");
        let mut rules = Rules::new(Some("ours".to_owned()));
        let converted = shape.convert(&mut rules, &mut Remarks::default()).expect("no fault");
        assert_eq!(matches!(converted, Converted::Service(_)), ours, "{text}");
    }
}

#[test]
fn every_field_of_a_slice_that_decides_something_is_read() {
    let text = "\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-a
  namespace: shop
  labels: {kubernetes.io/service-name: web, kubernetes.io/managed-by: a person}
  annotations: {endpoints.kubernetes.io/last-change-trigger-time: '1970-01-01T00:00:01.5Z'}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: all}, {name: dns, port: 53, protocol: UDP}]
endpoints:
- addresses: [10.244.0.1, 10.244.9.9]
  conditions: {ready: false, serving: true, terminating: true}
  nodeName: node-a
  zone: a
  hints: {forZones: [{name: a}], forNodes: [{name: node-a}]}
- {addresses: [10.244.0.2], conditions: null, hints: {forZones: []}}
- {addresses: []}
- {addresses: ['fd00::1']}
- {addresses: [169.254.0.1]}
- {addresses: [127.0.0.1]}
";
    let (Converted::Slice(fact), remarks) = both(text) else { panic!() };
    assert_eq!(
        (fact.name.to_string(), &*fact.service, fact.triggered),
        ("shop/web-a".into(), "web", Some(1_500_000_000))
    );
    let ports: Vec<(&str, u16)> = fact.ports.iter().map(|port| (&*port.name, port.port)).collect();
    assert_eq!(ports, [("http", 8080), ("dns", 53)]);
    let [first, second] = &fact.endpoints[..] else { panic!("{:?}", fact.endpoints) };
    assert_eq!((first.addr, first.ready, first.serving, first.terminating), (ip("10.244.0.1"), false, true, true));
    assert_eq!(first.node.as_deref(), Some("node-a"));
    let hints = first.hints.as_deref().expect("hints");
    assert_eq!((&*hints.zones[0], &*hints.nodes[0]), ("a", "node-a"));
    assert_eq!((second.ready, second.serving, second.terminating), (true, true, false));
    assert_eq!((&second.node, &second.hints), (&None, &None));
    assert_eq!(
        remarks,
        [
            "EndpointSlice shop/web-a: ports[1].port: missing; left out",
            "EndpointSlice shop/web-a: endpoints[3].addresses: fd00::1 is not of addressType IPv4; left out, and so are 2 \
             more of this slice"
        ]
    );
}

#[test]
fn slices_that_are_not_for_us_are_ignored_and_one_of_no_service_is_told() {
    let text = |labels: &str, kind: &str| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s, labels: {{{labels}}}}}\n\
             addressType: {kind}\nendpoints: null\nports: null\n"
        )
    };
    let web = "kubernetes.io/service-name: web";
    let headless = format!("{web}, service.kubernetes.io/headless: ''");
    assert!(matches!(both(&text(&headless, "IPv4")), (Converted::Ignored(_), remarks) if remarks.is_empty()));
    assert!(matches!(both(&text(web, "FQDN")), (Converted::Ignored(_), remarks) if remarks.is_empty()));
    assert!(matches!(both(&text("", "IPv4")), (Converted::Ignored(_), remarks) if remarks.len() == 1));
    let (Err(fault), _) = sent(&text(web, "IPv5")) else { panic!() };
    assert_eq!(fault.text, "EndpointSlice default/s: addressType: \"IPv5\" is none of IPv4, IPv6 and FQDN");
}

#[test]
fn every_field_of_a_node_that_decides_something_is_read() {
    let text = "\
apiVersion: v1
kind: Node
metadata:
  name: node-a
  labels: {topology.kubernetes.io/zone: a, kubernetes.io/hostname: node-a}
  deletionTimestamp: '2026-11-23T18:00:00Z'
spec:
  podCIDR: 10.244.1.0/24
  podCIDRs: [10.244.1.0/24, 'fd00:1::/64']
  taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]
status:
  addresses:
  - {type: ExternalIP, address: 198.51.100.7}
  - {type: Hostname, address: node-a}
  - {type: InternalIP, address: 192.0.2.7}
  - {type: InternalIP, address: 'fd00::7'}
";
    let (Converted::Node(fact), remarks) = both(text) else { panic!() };
    let expected = NodeFact {
        name: "node-a".into(),
        zone: Some("a".into()),
        addresses: vec![ip("192.0.2.7"), ip("fd00::7"), ip("198.51.100.7")],
        pod_cidrs: vec!["10.244.1.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()],
        deleting: true,
        to_be_deleted_taint: true,
    };
    assert_eq!((&*fact, remarks.len()), (&expected, 0));
    let bare = "apiVersion: v1\nkind: Node\nmetadata: {name: b, namespace: x}\nspec: {podCIDR: 10.1.0.0/16}\n";
    let (Converted::Node(fact), _) = both(bare) else { panic!() };
    assert_eq!((&*fact.name, fact.pod_cidrs.len(), fact.deleting, fact.to_be_deleted_taint), ("b", 1, false, false));
}

#[test]
fn a_page_with_an_object_that_cannot_be_read_has_the_others() {
    let mut rules = Rules::default();
    let page = |json: &str, rules: &mut Rules| Collection::Services.page(json.as_bytes(), rules);
    let json = r#"{"kind":"ServiceList","metadata":{"resourceVersion":"7","continue":""},"items":[
        {"metadata":{"name":"a","namespace":"n","resourceVersion":"5"},"spec":{"clusterIP":"10.96.0.1"}},
        {"metadata":{"name":"b","namespace":"n"},"spec":{"ports":"none"}}]}"#;
    let found = page(json, &mut rules).expect("a page");
    assert_eq!((found.version.as_str(), found.next), ("7", None));
    assert_eq!(found.objects[0].version, Some(5));
    assert!(matches!(found.objects[0].converted, Ok(Converted::Service(_))));
    assert!(found.objects[1].converted.as_ref().is_err_and(|fault| fault.text.starts_with("n/b: cannot be read: ")));
    let empty =
        page(r#"{"metadata":{"resourceVersion":"7","continue":"x"},"items":null}"#, &mut rules).expect("a page");
    assert_eq!((empty.objects.len(), empty.next.as_deref()), (0, Some("x")));
    assert_eq!(page("[]", &mut rules).expect("a page of nothing").version, "", "by which it is refused");
    assert!(page(&json[..json.len() - 5], &mut rules).is_err());
}

#[test]
fn a_line_is_read_whatever_the_order_of_its_fields() {
    let mut rules = Rules::default();
    for line in [
        r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
        r#" {"object":{"metadata":{"annotations":{"k8s.io/initial-events-end":"true"},"resourceVersion":"9"}}, "type":"BOOKMARK"}"#,
    ] {
        let event = Collection::Nodes.event(line.as_bytes(), &mut rules).expect("a line");
        assert_eq!(event, Event::Bookmark { version: "9".to_owned(), initial_end: true });
    }
    let deleted = r#"{"object":{"metadata":{"name":"a","resourceVersion":"3"}},"type":"DELETED"}"#;
    let event = Collection::Services.event(deleted.as_bytes(), &mut rules).expect("a line");
    assert_eq!(event, Event::Deleted { name: ObjectName::new("default", "a"), version: Some(3) });
    for (line, expected) in [
        (r#"{"type":"ADDED","object":{}}"#, false),
        (r#"{"type":"ADDED","object":{"metadata":{"name":"a"}}"#, false),
        (r#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}}"#, false),
        (r#"{"type":"FUTURE","object":{}}"#, true),
        ("", false),
        ("null", false),
    ] {
        assert_eq!(Collection::Services.event(line.as_bytes(), &mut rules).is_ok(), expected, "{line}");
    }
}
