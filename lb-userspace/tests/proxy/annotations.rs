//! Annotations from the manifest to the wire: manifests are translated, a proxy serves them, a client asks.
//!
//! What each value means is tested where it is read; here it is tested that what was understood is done.

use crate::rig::{Backend, Rig};
use lb_userspace::config::{ClassMode, Limits, Objects};
use lb_userspace::control::source::manifest;
use lb_userspace::control::store::Store;
use lb_userspace::control::translate::translate;
use std::net::SocketAddr;

const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// An Ingress of one host with paths, each `TYPE /path`, and annotations of ingress-nginx.
fn ingress(name: &str, host: &str, paths: &[&str], annotations: &[(&str, &str)]) -> String {
    let mut text =
        format!("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  annotations:\n");
    for (key, value) in annotations {
        text.push_str(&format!("    {NGINX}{key}: {value:?}\n"));
    }
    text.push_str(&format!("    other: x\nspec:\n  rules:\n  - host: {host}\n    http:\n      paths:\n"));
    for path in paths {
        let (kind, path) = path.split_once(' ').expect("type and path");
        let backend = "{service: {name: s, port: {number: 80}}}";
        text.push_str(&format!("      - {{path: {path:?}, pathType: {kind}, backend: {backend}}}\n"));
    }
    text
}

/// A proxy that serves these Ingresses from one backend.
fn serve(backend: SocketAddr, objects: &Objects, ingresses: &[String]) -> Rig {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{port: 80}]}\n".to_owned();
    let slice = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s, labels: {{kubernetes.io/service-name: s}}}}\n\
         addressType: IPv4\nports: [{{port: {}}}]\nendpoints: [{{addresses: [{}]}}]\n",
        backend.port(),
        backend.ip()
    );
    let text = ingresses.iter().chain([&service, &slice]).cloned().collect::<Vec<_>>().join("---\n");
    let read = manifest::read(&"a.yaml".into(), text.as_bytes());
    assert!(read.problems.is_empty(), "{:#?}", read.problems);
    let mut store = Store::default();
    store.replace_file(&"a.yaml".into(), read.entries);
    let (snapshot, problems) = translate(&store, objects, 1_780_272_000);
    assert!(problems.is_empty(), "{problems:#?}");
    Rig::with(Limits::default(), snapshot)
}

/// Asks for a path, with a body of so many bytes: status and `Location`, or the path that the backend saw.
fn ask(rig: &Rig, host: &str, path: &str, body: usize) -> String {
    let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {body}\r\n\r\n");
    let response = rig.ask(&[head.as_bytes(), &vec![b'x'; body]].concat());
    match (response.status, response.field("location")) {
        (200, _) => response.text().to_owned(),
        (status, Some(location)) => format!("{status} {location}"),
        (status, None) => status.to_string(),
    }
}

#[test]
fn annotations_act() {
    let backend = Backend::echo();
    let all = ["Prefix /"];
    let ingresses = [
        ingress("near", "near.test", &all, &[("allowlist-source-range", "10.0.0.0/8, 127.0.0.0/8")]),
        ingress("far", "far.test", &all, &[("whitelist-source-range", "10.0.0.0/8")]),
        ingress("moved", "moved.test", &all, &[("permanent-redirect", "https://new.test$request_uri")]),
        ingress(
            "away",
            "away.test",
            &all,
            &[("temporal-redirect", "https://a.test/"), ("temporal-redirect-code", "307")],
        ),
        ingress("forced", "forced.test", &all, &[("force-ssl-redirect", "true")]),
        ingress("small", "small.test", &all, &[("proxy-body-size", "1k")]),
        ingress("large", "large.test", &all, &[("proxy-body-size", "0")]),
        ingress("usual", "usual.test", &all, &[]),
        ingress("auto", "auto.test", &all, &[("backend-protocol", "AUTO_HTTP")]),
    ];
    let rig = serve(backend.address, &Objects::default(), &ingresses);
    for (host, path, body, want) in [
        ("near.test", "/a", 0, "/a"),
        ("far.test", "/a", 0, "403"),
        ("moved.test", "/a?b", 0, "301 https://new.test/a?b"),
        ("away.test", "/a", 0, "307 https://a.test/"),
        ("forced.test", "/a/", 0, "308 https://forced.test/a"),
        ("small.test", "/a", 1024, "/a"),
        ("small.test", "/a", 1025, "413"),
        ("large.test", "/a", 1024 * 1024 + 1, "/a"),
        ("usual.test", "/a", 1024 * 1024, "/a"),
        ("usual.test", "/a", 1024 * 1024 + 1, "413"),
        ("auto.test", "/a", 0, "/a"),
    ] {
        assert_eq!(ask(&rig, host, path, body), want, "{host} {path} {body}");
    }
}

#[test]
fn class_modes_differ() {
    let backend = Backend::echo();
    let ingresses = [
        ingress("a", "a.test", &["ImplementationSpecific /app(/|$)(.*)"], &[("rewrite-target", "/$2")]),
        ingress("b", "a.test", &["Exact /exact", "Prefix /app/v2", "Prefix /long/prefix"], &[]),
        ingress("c", "c.test", &["Exact /exact"], &[]),
    ];
    let ask_all = |class_mode| {
        let rig = serve(backend.address, &Objects { class_mode, ..Objects::default() }, &ingresses);
        let paths = ["/app/v1", "/APP/v2", "/app/v2/x", "/exact", "/EXACTLY", "/long/prefixes"];
        let of_a = paths.map(|path| format!("{path} {}", ask(&rig, "a.test", path, 0)));
        let of_c = ["/exact", "/EXACT"].map(|path| format!("{path} {}", ask(&rig, "c.test", path, 0)));
        [of_a.join(", "), of_c.join(", ")]
    };
    let c = "/exact /exact, /EXACT 404";
    let spec = "/app/v1 /v1, /APP/v2 /v2, /app/v2/x /v2/x, /exact /exact, /EXACTLY 404, /long/prefixes 404";
    assert_eq!(ask_all(ClassMode::Spec), [spec, c]);
    let nginx =
        "/app/v1 /v1, /APP/v2 /v2, /app/v2/x /v2/x, /exact /exact, /EXACTLY /EXACTLY, /long/prefixes /long/prefixes";
    assert_eq!(ask_all(ClassMode::Nginx), [nginx, c]);
}
