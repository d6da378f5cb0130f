//! Routes, filters and what endpoints are told.

use crate::rig::{Backend, Rig, origin, routes, service, snapshot};
use lb_core::Snapshot;
use lb_core::filter::Filter;
use lb_core::filter::rewrite_target::RewriteTarget;
use lb_core::filter::ssl_redirect::SslRedirect;
use lb_core::model::route::Target;
use lb_core::model::{HostPattern, PathMatch, ServiceId};
use lb_core::route::{Builder, plain_route};
use lb_userspace::config::Limits;

#[test]
fn requests_go_by_host_and_path() {
    let (web, api) = (Backend::http(|_| crate::rig::ok(b"web")), Backend::http(|_| crate::rig::ok(b"api")));
    let mut builder = Builder::default();
    for (host, path, id) in [("www.test", "/", 0), ("www.test", "/api", 1), ("*.api.test", "/", 1)] {
        let host = HostPattern::parse(host).expect("host");
        let path = PathMatch::prefix(path).expect("path");
        builder.rule(plain_route(host, path, origin(), Target::Service(ServiceId(id)))).expect("no conflict");
    }
    let services = vec![service(&[web.address]), service(&[api.address])];
    let rig = Rig::with(Limits::default(), Snapshot { routes: builder.build(), services, ..Snapshot::default() });
    let mut client = rig.connect();
    for (host, path, want) in [
        ("www.test", "/", "web"),
        ("WWW.Test.:8080", "/apis", "web"),
        ("www.test", "/api/x?y", "api"),
        ("www.test", "/x/../api", "api"),
        ("v1.api.test", "/", "api"),
        ("api.test", "/", "404"),
        ("10.0.0.1", "/", "404"),
        ("", "/", "404"),
    ] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        let response = client.response();
        assert!(response.text().starts_with(want), "{host} {path}: {}", response.text());
    }
    client.send(b"POST / HTTP/1.1\r\nHost: nobody\r\nContent-Length: 4\r\n\r\nbody");
    let response = client.response();
    assert_eq!((response.status, response.text()), (404, "404 Not Found: no rule names this host\n"));
    assert_eq!(response.field("content-type"), Some("text/plain; charset=utf-8"));
    client.send(b"HEAD / HTTP/1.1\r\nHost: nobody\r\n\r\n");
    assert_eq!(client.response_to(true).status, 404);
    client.send(b"GET / HTTP/1.1\r\nHost: www.test\r\n\r\n");
    assert_eq!(client.response().text(), "web");
}

#[test]
fn an_absolute_target_is_taken_apart() {
    let backend = Backend::echo();
    let rig = Rig::start(&[backend.address]);
    let response = rig.ask(b"GET http://a.test/x?y HTTP/1.1\r\nHost: A.test\r\n\r\n");
    assert_eq!(response.text(), "/x?y");
    assert_eq!(backend.seen()[0].field("host"), Some("a.test"));
}

#[test]
fn what_endpoints_are_told() {
    let backend = Backend::echo();
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    client.send(
        b"PUT /a%2Fb/../c?d HTTP/1.1\r\nhost: A.test:81\r\nUser-Agent: u\r\nX-Real-IP: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\n\
          X-Forwarded-For: 6.6.6.6\r\nProxy: http://evil\r\nUpgrade: websocket\r\nConnection: upgrade, x-secret\r\n\
          X-Secret: 1\r\nTE: trailers\r\nCookie: a=b\r\nCookie: c=d\r\nContent-Length: 2\r\n\r\nhi",
    );
    assert_eq!(client.response().status, 200);
    let seen = &backend.seen()[0];
    let port = rig.http.port().to_string();
    for (name, want) in [
        ("Host", Some("A.test:81")),
        ("User-Agent", Some("u")),
        ("X-Real-IP", Some("127.0.0.1")),
        ("X-Forwarded-For", Some("127.0.0.1")),
        ("X-Forwarded-Host", Some("A.test:81")),
        ("X-Forwarded-Port", Some(port.as_str())),
        ("X-Forwarded-Proto", Some("http")),
        ("X-Forwarded-Scheme", Some("http")),
        ("X-Scheme", Some("http")),
        ("X-Original-Forwarded-For", Some("6.6.6.6")),
        ("Content-Length", Some("2")),
        ("X_Real_IP", None),
        ("Proxy", None),
        ("Upgrade", None),
        ("Connection", None),
        ("X-Secret", None),
        ("TE", None),
    ] {
        assert_eq!(seen.field(name), want, "{name}");
    }
    assert!(seen.head.starts_with("PUT /a%2Fb/../c?d HTTP/1.1\r\n"), "the target is passed as it came");
    assert!(seen.head.contains("Cookie: a=b\r\nCookie: c=d\r\n"), "order is kept");
    client.get("/");
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: from-the-client\r\n\r\n");
    client.response();
    let ids: Vec<_> = backend.seen().iter().map(|s| s.field("X-Request-ID").expect("an id").to_owned()).collect();
    assert!(ids[0].len() == 32 && ids[0].bytes().all(|b| b.is_ascii_hexdigit()), "{}", ids[0]);
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[2], "from-the-client");
}

#[test]
fn filters_answer_or_change_the_request() {
    let backend = Backend::echo();
    let rewrite = RewriteTarget::parse("/$1").expect("target");
    let rewritten = routes(|route| {
        route.path = PathMatch::regex("/shop/(.*)").expect("path");
        route.filters = [Filter::RewriteTarget(rewrite)].into();
    });
    let rig = Rig::with(Limits::default(), Snapshot { routes: rewritten, ..snapshot(&[backend.address]) });
    assert_eq!(rig.connect().get("/shop/cart?x=y").text(), "/cart?x=y");
    let redirected = routes(|route| {
        route.filters = [Filter::SslRedirect(SslRedirect { force: true, preserve_trailing_slash: false })].into();
    });
    rig.publisher.publish(Snapshot { routes: redirected, ..snapshot(&[backend.address]) });
    let response = rig.connect().get("/x?y");
    assert_eq!((response.status, response.field("location")), (308, Some("https://a.test/x?y")));
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn every_request_is_counted() {
    let backend = Backend::echo();
    let rig = Rig::start(&[backend.address]);
    let mut client = rig.connect();
    client.get("/four");
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    let sent = client.response();
    rig.ask(b"bad\r\n\r\n");
    let counters = &rig.counters;
    crate::rig::eventually("the end", || counters.requests_active.get() == 0 && counters.responses[3].get() == 1);
    assert_eq!((counters.requests.get(), counters.requests_malformed.get()), (3, 1));
    assert_eq!((counters.responses[1].get(), counters.responses[3].get()), (2, 1));
    assert_eq!(counters.durations.iter().map(|d| d.get()).sum::<u64>(), 3);
    let want = "GET /four HTTP/1.1\r\nHost: a.test\r\n\r\n".len()
        + "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".len()
        + "bad\r\n\r\n".len();
    assert_eq!(counters.bytes_received.get(), want as u64);
    assert!(counters.bytes_sent.get() > 2 * (sent.head.len() + sent.body.len()) as u64);
}
