//! `sluice.dev/steering: connection`: the first request is routed here, and the kernel carries all that follows.

use super::{HTTP_V6, Stage};
use lb_tests::backend::pattern;
use lb_tests::client::Connection;
use lb_tests::echo::fnv1a;
use lb_tests::lab::HTTP;
use lb_tests::manifest::annotated;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Requests of one connection.
const REQUESTS: u64 = 1_000;

fn check_requests(host: &str, to: SocketAddr, client: &str) {
    let stage = Stage::new();
    let mut connection = Connection::plain(&stage.lab.client, to).expect("connect");
    // What a client says of itself is taken off the first request, and of the first alone.
    let forged = [("X-Real-IP", "6.6.6.6"), ("X-One", "1")];
    let mut ask = |path: &str| connection.request("GET", host, path, &forged, b"").expect("an answer").echo();
    let first = ask("/first");
    assert_eq!((first.header("x-real-ip"), first.header("x-forwarded-for")), (Some(client), Some(client)));
    assert!(first.header("x-request-id").is_some() && first.header("x-one") == Some("1"), "{first:?}");
    for turn in 1..REQUESTS {
        let later = ask(&format!("/later/{turn}"));
        assert_eq!(later.path, format!("/later/{turn}"));
        assert_eq!(later.identity, first.identity, "the endpoint stays");
        assert_eq!(later.header("x-real-ip"), Some("6.6.6.6"), "as the client sent it");
        assert_eq!((later.header("x-forwarded-for"), later.header("x-request-id")), (None, None));
    }
    let (up, down) = stage.translated();
    assert!(up >= REQUESTS - 1 && down >= REQUESTS - 1, "the kernel carried them: {up} and {down} packets");
    assert_eq!((stage.connections("spliced", "opted-in"), stage.metric("sluice_requests_total")), (1, 1));
    let flows = stage.flows();
    let [flow] = flows.as_slice() else { panic!("one flow: {flows:#?}") };
    assert_eq!((&flow["state"], &flow["status"]), (&"active".into(), &200.into()), "{flow:#}");
    assert!(stage.agent.access_log().is_empty(), "the line is written at the end");
    drop(connection);
    let lines = stage.lines(1);
    let [line] = lines.as_slice() else { panic!("one line: {lines:#?}") };
    assert_eq!((&line["target"], &line["status"]), (&"/first".into(), &200.into()), "{line:#}");
    assert_eq!((&line["endpoint"], &line["service"]), (&flow["backend"], &flow["service"]), "{line:#}");
    assert_eq!(line["error"], serde_json::Value::Null, "{line:#}");
    let number = |name: &str| line[name].as_u64().unwrap_or_else(|| panic!("{name} in {line:#}"));
    assert!(number("bytes_received") > REQUESTS * 60 && number("bytes_sent") > REQUESTS * 200, "{line:#}");
    assert!(number("duration_us") > 1_000, "{line:#}");
    assert!(stage.flows().is_empty());
    stage.end();
}

#[test]
fn the_first_request_is_routed_and_a_thousand_are_carried() {
    check_requests("stream.test", HTTP, "10.1.0.2");
}

#[test]
fn ipv6_is_carried_as_well() {
    check_requests("six.test", HTTP_V6, "fd01::2");
}

#[test]
fn families_that_differ_are_served_by_userspace() {
    let stage = Stage::new();
    let mut connection = Connection::plain(&stage.lab.client, HTTP_V6).expect("connect");
    for _ in 0..3 {
        let echo = connection.get("stream.test", "/").expect("an answer").echo();
        assert_eq!(echo.header("x-real-ip"), Some("fd01::2"), "each request is seen");
    }
    assert_eq!((stage.connections("per-request", "family"), stage.translated()), (1, (0, 0)));
    assert_eq!(stage.metric("sluice_splice_refused_total{reason=\"family\"}"), 1);
    stage.end();
}

#[test]
fn bodies_of_any_size_are_carried() {
    let stage = Stage::new();
    let mut connection = Connection::plain(&stage.lab.client, HTTP).expect("connect");
    assert_eq!(connection.get("stream.test", "/").expect("an answer").status, 200);
    let mut sent = 0;
    for size in [0, 1, 100_000, 5_000_000] {
        let body = pattern(size);
        let echo = connection.request("POST", "stream.test", "/", &[], &body).expect("an answer").echo();
        assert_eq!((echo.body_bytes, echo.body_fnv1a), (size, fnv1a(&body)));
        sent += size as u64;
    }
    let get = connection.get("stream.test", "/bytes/20000000").expect("an answer");
    assert!(get.body == pattern(20_000_000));
    let [flow] = &stage.flows()[..] else { panic!("one flow: {:#?}", stage.flows()) };
    let bytes = |name: &str| flow[name].as_u64().unwrap_or_else(|| panic!("{name} in {flow:#}"));
    assert!(bytes("bytes_up") > sent && bytes("bytes_down") > 20_000_000, "{flow:#}");
    stage.end();
}

#[test]
fn classes_and_reasons_are_shown() {
    let stage = Stage::new();
    let routes = stage.agent.json(&["routes"]);
    let class = |host: &str| {
        let row = routes.as_array().into_iter().flatten().find(|row| row["host"] == host);
        row.unwrap_or_else(|| panic!("{host} in {routes:#}"))["class"].clone()
    };
    assert_eq!(
        (&class("stream.test")["class"], &class("stream.test")["reason"]),
        (&"spliced".into(), &"opted-in".into())
    );
    assert_eq!(class("site.test")["reason"], "not-opted-in");
    let explained = stage.agent.json(&["explain", "GET", "http://stream.test/"]);
    assert_eq!(explained["class"]["reason"], "opted-in", "{explained:#}");
    let status = stage.agent.json(&["status"]);
    assert_eq!(status["splicing"]["active"], true, "{status:#}");
    stage.end();
}

#[test]
fn balancing_counts_what_the_kernel_carries() {
    let stage = Stage::new();
    let annotations = "sluice.dev/steering: connection, sluice.dev/load-balance: least-requests";
    let least = annotated("stream", "stream.test", ("site", 80), annotations);
    let version = stage.agent.version();
    stage.manifests.replace("stream.yaml", least);
    stage.agent.wait_until("it serves", |agent| agent.version() > version);
    let mut held: BTreeMap<String, Vec<Connection>> = BTreeMap::new();
    let open = |held: &mut BTreeMap<String, Vec<Connection>>| {
        let mut connection = Connection::plain(&stage.lab.client, HTTP).expect("connect");
        let pod = connection.get("stream.test", "/").expect("an answer").echo().identity.pod;
        held.entry(pod).or_default().push(connection);
    };
    (0..10).for_each(|_| open(&mut held));
    let count = |held: &BTreeMap<String, Vec<Connection>>| held.values().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(count(&held), [5, 5], "each one goes where fewer are");
    // One endpoint is left alone: all of the next go there.
    held.insert("site-10".to_owned(), Vec::new());
    stage.agent.wait_until("they are over", |_| stage.flows().len() == 5);
    (0..5).for_each(|_| open(&mut held));
    assert_eq!(count(&held), [5, 5]);
    stage.expect_connections("spliced", "opted-in", 15);
    stage.end();
}
