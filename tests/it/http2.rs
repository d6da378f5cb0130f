//! HTTP/2 with clients that other people wrote: curl, nghttp and h2load of nghttp2.

use lb_tests::agent::{Setup, text};
use lb_tests::lab::{HTTP, HTTPS};
use lb_tests::site::{HOST, Site};
use std::process::Output;

impl Client<'_> {
    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        self.0.lab.client.command(program).args(arguments).output().unwrap_or_else(|e| panic!("{program}: {e}"))
    }
}

struct Client<'a>(&'a Site);

fn resolve(address: std::net::SocketAddr) -> String {
    format!("{HOST}:{}:{}", address.port(), address.ip())
}

#[test]
fn curl_by_alpn_with_prior_knowledge_and_with_a_body() {
    let site = Site::new();
    let agent = Setup::default().start(&site.lab, site.manifests.path());
    let client = Client(&site);
    let (plain, secure) = (resolve(HTTP), resolve(HTTPS));
    let check = |arguments: &[&str], want: &str| {
        let output = client
            .run("curl", &[&["-sS", "--max-time", "10", "-w", "\n%{http_version} %{http_code}"], arguments].concat());
        assert!(output.status.success(), "{}", text(&output));
        let shown = text(&output);
        assert!(shown.trim_end().ends_with(want), "{arguments:?}: {shown}");
        shown
    };
    let (http, https) = (format!("http://{HOST}:{}/a?b", HTTP.port()), format!("https://{HOST}:{}/a?b", HTTPS.port()));
    let shown = check(&["-k", "--http2", "--resolve", &secure, &https], "2 200");
    assert!(shown.contains(r#""path":"/a?b""#) && shown.contains(r#""proto":"HTTP/1.1""#), "{shown}");
    assert!(shown.contains(r#""x-forwarded-proto":["https"]"#), "{shown}");
    check(&["-k", "--http1.1", "--resolve", &secure, &https], "1.1 200");
    check(&["--http2-prior-knowledge", "--resolve", &plain, &http], "2 200");
    let body = "x".repeat(200_000);
    site.manifests.write("body", &body);
    let file = format!("@{}", site.manifests.path().join("body").display());
    let shown = check(&["--http2-prior-knowledge", "--resolve", &plain, "--data-binary", &file, &http], "2 200");
    assert!(shown.contains(r#""body_bytes":200000"#), "{shown}");
    // A connection that TLS was set up for one name of takes no requests for another (RFC 9110 section 15.5.20).
    let misdirected = ["-k", "--http2", "--resolve", &secure, "-H", "Host: other.test", &https];
    check(&misdirected, "2 421");
    agent.stop();
}

#[test]
fn nghttp_and_many_streams_of_h2load() {
    let site = Site::new();
    let agent = Setup::default().start(&site.lab, site.manifests.path());
    let client = Client(&site);
    let url = format!("https://{HTTPS}/");
    let with_host = format!("--header=:authority:{HOST}");
    let output = client.run("nghttp", &["-v", "--no-dep", &with_host, &url]);
    let shown = text(&output);
    assert!(output.status.success() && shown.contains(":status: 200"), "{shown}");
    let output = client.run("h2load", &["-n", "3000", "-c", "3", "-m", "20", &with_host, &url]);
    let shown = text(&output);
    assert!(shown.contains("3000 succeeded, 0 failed, 0 errored, 0 timeout"), "{shown}");
    assert!(shown.contains("status codes: 3000 2xx"), "{shown}");
    agent.stop();
}
