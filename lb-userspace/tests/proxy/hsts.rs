//! `Strict-Transport-Security`: over TLS, for hosts with a certificate, unless the backend says it itself.

use crate::rig::{Backend, Client, Edge, Rig, dial, ok};
use crate::tls::{certificate, config, connect, with_certificates};
use lb_core::model::certificate::PrivateKey;
use lb_userspace::config::{Hsts, Tls};

const NAME: &str = "strict-transport-security";

fn rig(hsts: Option<Hsts>) -> (Backend, Rig) {
    let backend = Backend::http(|seen| match seen.path() {
        "/own" => b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 0\r\n\r\n".to_vec(),
        path => ok(path.as_bytes()),
    });
    let named = certificate("a.test", PrivateKey::Pkcs8);
    let snapshot = with_certificates(backend.address, &[("a.test", &named)]);
    let tls = Tls { hsts, ..Tls::default() };
    (backend, Rig::edged(Edge { tls, ..Edge::default() }, snapshot))
}

#[test]
fn it_is_sent_over_tls_to_hosts_with_a_certificate() {
    let (_backend, rig) = rig(Tls::default().hsts);
    let mut tls = connect(rig.https, "a.test", config(rustls::ALL_VERSIONS));
    assert_eq!(tls.get("/").field(NAME), Some("max-age=31536000; includeSubDomains"));
    assert_eq!(tls.get("/own").field(NAME), Some("max-age=1"));
    tls.send(b"GET /%2e%2e%2e/%zz HTTP/1.1\r\nHost: b.test\r\n\r\n");
    assert_eq!(tls.response().field(NAME), None, "a host without a certificate");

    let mut tls = connect(rig.https, "a.test", config(rustls::ALL_VERSIONS));
    tls.send(b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n");
    assert_eq!(tls.response().field(NAME), None);
    tls.send(b"GET / HTTP/1.1\r\nHost: A.test.:443\r\n\r\n");
    assert!(tls.response().field(NAME).is_some());

    let mut plain = Client::new(dial(rig.http));
    assert_eq!(plain.get("/").field(NAME), None);
}

#[test]
fn our_own_answers_carry_it() {
    let (_, rig) = rig(Tls::default().hsts);
    // The backend's listener is still there, but this service has no endpoint.
    let named = certificate("a.test", PrivateKey::Pkcs8);
    let mut empty = with_certificates(([127, 0, 0, 1], 1).into(), &[("a.test", &named)]);
    empty.services.clear();
    rig.keys.prepare(&empty);
    rig.publisher.publish(empty);
    let mut tls = connect(rig.https, "a.test", config(rustls::ALL_VERSIONS));
    let response = tls.get("/");
    assert_eq!((response.status, response.field(NAME).is_some()), (503, true));
}

#[test]
fn it_can_be_off_or_short() {
    let (_backend, off) = rig(None);
    assert_eq!(connect(off.https, "a.test", config(rustls::ALL_VERSIONS)).get("/").field(NAME), None);
    let (_backend, short) = rig(Some(Hsts { max_age_s: 0, subdomains: false, preload: false }));
    assert_eq!(connect(short.https, "a.test", config(rustls::ALL_VERSIONS)).get("/").field(NAME), Some("max-age=0"));
}
