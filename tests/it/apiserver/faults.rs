//! Faults do what they say, and end.

use super::client::Client;
use super::{CONFIG_MAPS, JSON, config_map};
use lb_tests::apiserver::ApiServer;
use serde_json::json;
use std::time::{Duration, Instant};

fn watched(server: &ApiServer) -> String {
    format!("/api/v1/configmaps?watch=1&resourceVersion={}", server.resource_version())
}

fn put(server: &ApiServer, name: &str) {
    server.put(&format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n"));
}

#[test]
fn watches_are_broken_off_and_expire() {
    let server = ApiServer::start();
    let mut client = Client::admin(&server);
    let mut watch = client.watch(&watched(&server));
    put(&server, "a");
    assert_eq!(watch.short().0, "ADDED a");
    server.faults().disconnect_watches();
    let end = watch.next_within(Duration::from_secs(5));
    assert!(end.as_ref().is_err_and(|error| error != "silence"), "{end:?}");

    let mut watch = client.watch(&watched(&server));
    server.faults().expire_watches();
    let event = watch.next();
    assert_eq!((&event["type"], &event["object"]["code"]), (&json!("ERROR"), &json!(410)), "{event}");
    assert_eq!(watch.next_within(Duration::from_secs(5)), Ok(None));

    server.faults().watch_events_max(Some(2));
    let mut watch = client.watch(&watched(&server));
    for name in ["b", "c", "d"] {
        put(&server, name);
    }
    assert_eq!([watch.short().0, watch.short().0], ["ADDED b", "ADDED c"]);
    assert!(watch.next_within(Duration::from_secs(5)).is_err());
}

#[test]
fn events_are_doubled_and_delayed() {
    let server = ApiServer::start();
    server.faults().duplicate_events(true);
    server.faults().delay_events("secrets", Duration::from_millis(300));
    let mut maps = Client::admin(&server);
    let mut secrets = Client::admin(&server);
    let version = server.resource_version();
    let mut maps = maps.watch(&watched(&server));
    let mut secrets = secrets.watch(&format!("/api/v1/secrets?watch=1&resourceVersion={version}"));
    let started = Instant::now();
    server.put("apiVersion: v1\nkind: Secret\nmetadata: {name: first}\n");
    put(&server, "second");
    assert_eq!([maps.short().0, maps.short().0], ["ADDED second", "ADDED second"]);
    assert!(started.elapsed() < Duration::from_millis(300));
    assert_eq!(secrets.short().0, "ADDED first");
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[test]
fn requests_are_refused_slowed_and_unanswered() {
    let server = ApiServer::start();
    let mut client = Client::admin(&server);
    for (code, retry) in [(429, Some("1")), (500, None), (503, Some("1"))] {
        server.faults().refuse_next(1, code);
        let (head, status) = client.try_ask("GET", CONFIG_MAPS, "", "").expect("an answer");
        let header = head.headers.get("retry-after").and_then(|value| value.to_str().ok());
        assert_eq!((head.status.as_u16(), header), (code, retry), "{status}");
        assert_eq!(status["details"]["retryAfterSeconds"].as_u64().is_some(), retry.is_some(), "{status}");
        assert_eq!(client.get(CONFIG_MAPS).0, 200, "only the next one");
    }
    server.faults().refuse_next_of("create", "configmaps", 1, 500);
    assert_eq!(client.get(CONFIG_MAPS).0, 200);
    assert_eq!(client.ask("POST", CONFIG_MAPS, JSON, &config_map("a", &json!({}))).0, 500);
    server.faults().slow_lists(Duration::from_millis(200));
    let started = Instant::now();
    assert_eq!(client.get(CONFIG_MAPS).0, 200);
    assert!(started.elapsed() >= Duration::from_millis(200));
    server.faults().skew(3600);
    let (head, _) = client.try_ask("GET", "/version", "", "").expect("an answer");
    put(&server, "later");
    let made =
        server.get("ConfigMap", "default", "later").expect("it is there")["metadata"]["creationTimestamp"].to_string();
    let date = head.headers["date"].to_str().expect("text").to_owned();
    let hour = |text: &str| text.split(':').next().and_then(|start| start.get(start.len() - 2..)?.parse::<u8>().ok());
    let now = std::process::Command::new("date").args(["-u", "+%H:%M"]).output().expect("date");
    let now = hour(&String::from_utf8_lossy(&now.stdout)).expect("an hour");
    let fits = |hour: Option<u8>| hour == Some((now + 1) % 24) || hour == Some((now + 2) % 24);
    assert!(fits(hour(&date)) && fits(hour(&made)), "{date} {made} {now}");
}

#[test]
fn the_server_hangs_goes_away_and_comes_back() {
    let server = ApiServer::start();
    let mut client = Client::admin(&server);
    let mut watch = client.watch(&watched(&server));
    server.faults().hang(true);
    put(&server, "a");
    assert_eq!(watch.next_within(Duration::from_millis(200)), Err("silence".to_owned()));
    server.faults().hang(false);
    assert_eq!(watch.short().0, "ADDED a");
    server.faults().go_away(true);
    assert!(watch.next_within(Duration::from_secs(5)).is_err_and(|error| error != "silence"));
    let mut other = Client::admin(&server);
    let refused = other.try_ask("GET", "/version", "", "").expect_err("the port is closed");
    assert!(refused.contains("refused"), "{refused}");
    server.faults().go_away(false);
    assert_eq!(other.get("/version").0, 200);
    assert!(server.get("ConfigMap", "default", "a").is_some(), "nothing is lost");
}
