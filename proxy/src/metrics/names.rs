//! Every series, once: its name, its help, its labels, its buckets.
//!
//! `kubeproxy_*` and `rest_client_*` are kube-proxy's own in name, type, labels, buckets and help (`pkg/proxy/metrics/metrics.go`
//! and component-base, v1.37.2), so that dashboards and alerts written for it go on. Which of its names are not here, and
//! why, says `docs/metrics.md`.

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// 1 ms doubled 14 times, as kube-proxy's rounds.
fn rounds() -> Vec<f64> {
    (0..15).map(|power| 0.001 * f64::from(1_u32 << power)).collect()
}

/// 0.25 s to 5 min, as the service level objective of Kubernetes is told in.
fn programming() -> Vec<f64> {
    let mut buckets = vec![0.25, 0.5];
    buckets.extend((1..60).map(f64::from));
    buckets.extend((60..120).step_by(5).map(f64::from));
    buckets.extend((120..=300).step_by(30).map(f64::from));
    buckets
}

/// 50 µs doubled 17 times, to 6.5 s: an event is in the maps after a fraction of kube-proxy's first bucket.
fn brisk() -> Vec<f64> {
    (0..18).map(|power| 0.000_05 * f64::from(1_u32 << power)).collect()
}

/// Requests to the API server, as client-go's.
const REQUESTS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

/// Makes and registers. A name that is taken, or not a name, is a slip in this file, and every test that makes metrics shows it.
pub struct Maker<'a>(pub &'a Registry);

impl Maker<'_> {
    fn keep<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.unwrap_or_else(|error| panic!("a metric's description: {error}"));
        self.0.register(Box::new(collector.clone())).unwrap_or_else(|error| panic!("a metric's name: {error}"));
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.keep(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.keep(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn times(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.keep(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
        self.keep(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: Vec<f64>) -> HistogramVec {
        self.keep(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels))
    }
}

/// What kube-proxy has too.
pub struct KubeProxy {
    pub sync: HistogramVec,
    pub sync_full: HistogramVec,
    pub sync_partial: HistogramVec,
    pub last_synced: GaugeVec,
    pub last_queued: GaugeVec,
    pub programming: HistogramVec,
    pub slices_pending: IntGauge,
    pub slices_total: IntCounter,
    pub services_pending: IntGauge,
    pub services_total: IntCounter,
    pub no_local: IntGaugeVec,
    pub healthz: IntCounterVec,
    pub livez: IntCounterVec,
    pub conntrack: HistogramVec,
    pub conntrack_deleted: IntCounterVec,
    pub requests: IntCounterVec,
    pub request_duration: HistogramVec,
}

impl KubeProxy {
    pub fn new(make: &Maker<'_>) -> Self {
        let family = &["ip_family"];
        let help = |text: &str| format!("[ALPHA] {text}");
        Self {
            sync: make.histograms(
                "kubeproxy_sync_proxy_rules_duration_seconds",
                &help("SyncProxyRules latency in seconds"),
                family,
                rounds(),
            ),
            sync_full: make.histograms(
                "kubeproxy_sync_full_proxy_rules_duration_seconds",
                &help("SyncProxyRules latency in seconds for full resyncs"),
                family,
                rounds(),
            ),
            sync_partial: make.histograms(
                "kubeproxy_sync_partial_proxy_rules_duration_seconds",
                &help("SyncProxyRules latency in seconds for partial resyncs"),
                family,
                rounds(),
            ),
            last_synced: make.times(
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                &help("The last time proxy rules were successfully synced"),
                family,
            ),
            last_queued: make.times(
                "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                &help("The last time a sync of proxy rules was queued"),
                family,
            ),
            programming: make.histograms(
                "kubeproxy_network_programming_duration_seconds",
                &help("In Cluster Network Programming Latency in seconds"),
                family,
                programming(),
            ),
            slices_pending: make.gauge(
                "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
                &help("Pending proxy rules Endpoint changes"),
            ),
            slices_total: make.counter(
                "kubeproxy_sync_proxy_rules_endpoint_changes_total",
                &help("Cumulative proxy rules Endpoint changes"),
            ),
            services_pending: make.gauge(
                "kubeproxy_sync_proxy_rules_service_changes_pending",
                &help("Pending proxy rules Service changes"),
            ),
            services_total: make.counter(
                "kubeproxy_sync_proxy_rules_service_changes_total",
                &help("Cumulative proxy rules Service changes"),
            ),
            no_local: make.gauges(
                "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                &help("Number of services with a Local traffic policy and no endpoints"),
                &["traffic_policy", "ip_family"],
            ),
            healthz: make.counters(
                "kubeproxy_proxy_healthz_total",
                &help("Cumulative proxy healthz HTTP status"),
                &["code"],
            ),
            livez: make.counters("kubeproxy_proxy_livez_total", &help("Cumulative proxy livez HTTP status"), &["code"]),
            conntrack: make.histograms(
                "kubeproxy_conntrack_reconciler_sync_duration_seconds",
                &help("ReconcileConntrackFlowsLatency latency in seconds"),
                family,
                rounds(),
            ),
            conntrack_deleted: make.counters(
                "kubeproxy_conntrack_reconciler_deleted_entries_total",
                &help("Cumulative conntrack flows deleted by conntrack reconciler"),
                family,
            ),
            requests: make.counters(
                "rest_client_requests_total",
                &help("Number of HTTP requests, partitioned by status code, method, and host."),
                &["code", "method", "host"],
            ),
            request_duration: make.histograms(
                "rest_client_request_duration_seconds",
                &help("Request latency in seconds. Broken down by verb, and host."),
                &["verb", "host"],
                REQUESTS.to_vec(),
            ),
        }
    }
}

/// What is ours.
pub struct Own {
    pub build: IntGaugeVec,
    pub ready: IntGauge,
    pub services: IntGauge,
    pub slices: IntGauge,
    pub frontends: IntGauge,
    pub health_check_ports: IntGauge,
    pub used: IntGaugeVec,
    pub size: IntGaugeVec,
    pub programs: IntCounterVec,
    pub event_to_map: Histogram,
    pub operations: IntCounter,
    pub failed: IntCounter,
    pub verified: IntCounter,
    pub drift: IntCounter,
    pub problems: IntGaugeVec,
    pub no_room: IntGauge,
    pub held_over: IntGauge,
    pub watch_synced: IntGaugeVec,
    pub watch_restarts: IntCounterVec,
    pub flows_deleted: IntCounterVec,
    pub events_dropped: IntCounter,
}

impl Own {
    pub fn new(make: &Maker<'_>) -> Self {
        Self {
            build: make.gauges("fairlead_proxy_build_info", "Always 1; the version is a label", &["version"]),
            ready: make.gauge("fairlead_proxy_ready", "1 once the first complete state is in the maps"),
            services: make.gauge("fairlead_proxy_services", "Services that the source states"),
            slices: make.gauge("fairlead_proxy_endpoint_slices", "EndpointSlices that the source states"),
            frontends: make.gauge("fairlead_proxy_frontends", "Frontends in the maps, each with its set of backends"),
            health_check_ports: make.gauge(
                "fairlead_proxy_health_check_ports",
                "Services with a healthCheckNodePort that is to be answered on this node",
            ),
            used: make.gauges("fairlead_proxy_map_entries", "Entries of a map in use or not yet released", &["map"]),
            size: make.gauges("fairlead_proxy_map_size", "Entries that a map has room for", &["map"]),
            programs: make.counters(
                "fairlead_proxy_programs_total",
                "What the BPF programs did with connections and datagrams to Services, by reason",
                &["reason"],
            ),
            event_to_map: make.histogram(
                "fairlead_proxy_event_to_map_duration_seconds",
                "From the moment the daemon read a change to the last write to the maps that it led to",
                brisk(),
            ),
            operations: make.counter("fairlead_proxy_map_writes_total", "Writes to the maps"),
            failed: make.counter("fairlead_proxy_map_write_failures_total", "Writes to the maps that failed"),
            verified: make.counter(
                "fairlead_proxy_verifications_total",
                "Full comparisons of the maps with what they should hold",
            ),
            drift: make.counter(
                "fairlead_proxy_drift_repaired_total",
                "Entries that somebody else had changed and that were repaired",
            ),
            problems: make.gauges(
                "fairlead_proxy_problems",
                "What `status` lists at present, by severity",
                &["severity"],
            ),
            no_room: make.gauge("fairlead_proxy_frontends_without_room", "Frontends that do not fit into the maps"),
            held_over: make.gauge(
                "fairlead_proxy_frontends_held_over",
                "Frontends kept as they were before the start, as the source is not read completely",
            ),
            watch_synced: make.gauges(
                "fairlead_proxy_watch_synced",
                "1 while the list of a kind of object is complete and its watch is open",
                &["resource"],
            ),
            watch_restarts: make.counters(
                "fairlead_proxy_watch_restarts_total",
                "Watches of the API server that had to be opened again, by reason",
                &["resource", "reason"],
            ),
            flows_deleted: make.counters(
                "fairlead_proxy_flows_ended_total",
                "UDP flows of removed endpoints that were ended, by where they lived",
                &["kind"],
            ),
            events_dropped: make.counter(
                "fairlead_proxy_events_dropped_total",
                "Kubernetes events that were not sent: too many at once, or the API server did not take them",
            ),
        }
    }
}
