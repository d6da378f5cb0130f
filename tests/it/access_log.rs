//! The access log: one line a request, in both forms, with one word where we answered ourselves.

use lb_tests::agent::{Agent, Setup};
use lb_tests::client::Connection;
use lb_tests::lab::{HTTP, pod};
use lb_tests::manifest::ingress;
use lb_tests::site::Site;
use serde_json::Value;

struct Stage {
    agent: Agent,
    site: Site,
}

impl Stage {
    fn new(format: &str) -> Self {
        let site = Site::new();
        site.manifests.write("gone.yaml", ingress("gone", "gone.test", &[("Prefix", "/", "gone", 80)]));
        let agent = Setup::default().arg("--access-log").arg(format).start(&site.lab, site.manifests.path());
        Self { agent, site }
    }

    fn send(&self, request: &str) -> u16 {
        let mut connection = Connection::plain(&self.site.lab.client, HTTP).expect("connect");
        connection.send(request.as_bytes()).expect("send");
        connection.read_response(false).expect("a response").status
    }

    /// The log, once it has so many lines.
    fn lines(&self, count: usize) -> Vec<String> {
        self.agent.wait_until("the lines are written", |agent| agent.access_log().lines().count() >= count);
        let lines: Vec<String> = self.agent.access_log().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), count, "one line a request: {lines:#?}");
        lines
    }
}

#[test]
fn json_tells_what_became_of_each_request() {
    let stage = Stage::new("json");
    let cases: [(&str, u16, Value); 4] = [
        ("GET /a/b?c=d HTTP/1.1\r\nHost: site.test\r\nX-Request-ID: mine\r\n\r\n", 200, Value::Null),
        ("GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n", 404, "no-route".into()),
        ("GET / HTTP/1.1\r\nHost: gone.test\r\n\r\n", 503, "unavailable".into()),
        ("GET / HTTP/1.1\r\nHost: site.test\r\nHost: site.test\r\n\r\n", 400, "malformed".into()),
    ];
    for (request, status, _) in &cases {
        assert_eq!(stage.send(request), *status, "{request}");
    }
    let lines = stage.lines(cases.len());
    let records: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for (record, (request, status, error)) in records.iter().zip(&cases) {
        assert_eq!((&record["status"], &record["error"]), (&(*status).into(), error), "{request}: {record:#}");
        assert!(record["client"].as_str().is_some_and(|client| client.starts_with("10.1.0.2:")), "{record:#}");
    }
    let first = &records[0];
    assert_eq!(first["method"], "GET");
    assert_eq!(first["host"], "site.test");
    assert_eq!(first["target"], "/a/b?c=d");
    assert_eq!(first["request_id"], "mine");
    assert_eq!(first["ingress"], "default/site rules[0].paths[0]");
    assert_eq!(first["service"], "default/site:80");
    assert_eq!(first["endpoint"], pod(10, 8080).to_string());
    assert!(first["bytes_sent"].as_u64().is_some_and(|bytes| bytes > 100), "{first:#}");
    stage.agent.stop();
}

#[test]
fn text_is_one_line_that_no_client_can_forge() {
    let stage = Stage::new("text");
    assert_eq!(stage.send("GET /a?'%22%0aforged HTTP/1.1\r\nHost: site.test\r\nX-Request-ID: a\"b\r\n\r\n"), 200);
    let line = stage.lines(1).remove(0);
    assert!(line.contains(r#""GET http://site.test/a?\'%22%0aforged HTTP/1.1" 200 "#), "{line}");
    assert!(line.contains(r#" id=a\"b "#), "{line}");
    stage.agent.stop();
}
