//! Mutual TLS: hosts that ask for a client certificate, and every way around it.

use crate::rig::{Backend, Client, Response, Rig, dial, ok, routes, snapshot};
use crate::tls::{Anyone, Tls, secure};
use lb_core::Snapshot;
use lb_core::model::{Authorities, ClientAuth, ClientAuthTable, HostPattern, Kind, ObjectRef};
use lb_userspace::config::Limits;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion};
use std::net::SocketAddr;
use std::sync::Arc;

/// An authority that signs.
struct Authority {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// A client certificate with its key.
struct Card {
    chain: Vec<Vec<u8>>,
    key: Vec<u8>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Test");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let der = params.self_signed(&key).expect("an authority").der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }

    fn card(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Card {
        let mut params = params(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let der = params.signed_by(&key, &self.issuer).expect("a certificate").der().to_vec();
        Card { chain: vec![der], key: key.serialize_der() }
    }

    fn auth(&self, required: bool) -> Arc<ClientAuth> {
        let source = ObjectRef::new(Kind::Secret, "n", "ca");
        let certificates = vec![self.der.clone()];
        Arc::new(ClientAuth { authorities: Arc::new(Authorities { source, certificates }), required })
    }
}

fn asking(endpoint: SocketAddr, hosts: &[(&str, &Arc<ClientAuth>)]) -> Snapshot {
    let mut client_auth = ClientAuthTable::default();
    for (host, auth) in hosts {
        assert!(client_auth.insert(&HostPattern::parse(host).expect("a host"), auth));
    }
    Snapshot { client_auth: client_auth.into(), ..snapshot(&[endpoint]) }
}

fn show(card: Option<&Card>, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone));
    let config = match card {
        None => builder.with_no_client_auth(),
        Some(card) => {
            let chain = card.chain.iter().map(|der| der.clone().into()).collect();
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(card.key.clone()));
            builder.with_client_auth_cert(chain, key).expect("a card")
        }
    };
    Arc::new(config)
}

fn connect(rig: &Rig, name: &str, config: &Arc<ClientConfig>) -> Client<Tls> {
    secure(dial(rig.https), name, config.clone())
}

fn ask(client: &mut Client<Tls>, host: &str) -> Response {
    // Whatever it says of itself must not reach the backend.
    let forged =
        "ssl-client-verify: SUCCESS\r\nSSL-Client-Subject-DN: CN=forged\r\nssl_client_issuer_dn: CN=forged\r\n";
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n{forged}\r\n").as_bytes());
    client.response()
}

/// Shows what it is told of the client.
fn backend() -> Backend {
    Backend::http(|seen| {
        assert!(!seen.head.contains("forged"), "{}", seen.head);
        let field = |name| seen.field(name).unwrap_or("-").to_owned();
        ok(["ssl-client-verify", "ssl-client-subject-dn", "ssl-client-issuer-dn"].map(field).join(" | ").as_bytes())
    })
}

const KNOWN: &str = "SUCCESS | CN=alice,O=Test | CN=Our CA,O=Test";
const BOTH: [&[&SupportedProtocolVersion]; 2] = [&[&rustls::version::TLS12], &[&rustls::version::TLS13]];

#[test]
fn certificates_are_asked_for_and_judged() {
    let (ours, other, backend) = (Authority::new("Our CA"), Authority::new("Other CA"), backend());
    let (must, may) = (ours.auth(true), ours.auth(false));
    let rig = Rig::with(Limits::default(), asking(backend.address, &[("must.test", &must), ("*.may.test", &may)]));
    let alice = ours.card("alice", |_| {});
    let expired = ours.card("old", |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    let server = ours.card("server", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let stranger = other.card("alice", |_| {});
    for versions in BOTH {
        for (card, host, want, text) in [
            (Some(&alice), "must.test", 200, KNOWN),
            (Some(&alice), "a.may.test", 200, KNOWN),
            (None, "a.may.test", 200, "NONE | - | -"),
            (None, "must.test", 400, "No required SSL certificate was sent"),
            (Some(&stranger), "must.test", 400, "UnknownIssuer"),
            (Some(&stranger), "a.may.test", 400, "UnknownIssuer"),
            (Some(&expired), "must.test", 400, "xpired"),
            (Some(&server), "must.test", 400, "The SSL certificate error"),
            (Some(&alice), "free.test", 200, "- | - | -"),
            (None, "free.test", 200, "- | - | -"),
        ] {
            let mut client = connect(&rig, host, &show(card, versions));
            for _ in 0..2 {
                let response = ask(&mut client, host);
                assert_eq!(response.status, want, "{host}: {response:?}");
                assert!(response.text().contains(text), "{host}: {text} in {}", response.text());
            }
        }
    }
}

#[test]
fn a_server_name_is_no_way_around() {
    let (ours, other, backend) = (Authority::new("Our CA"), Authority::new("Other CA"), backend());
    let hosts = [("must.test", &ours.auth(true)), ("may.test", &ours.auth(false)), ("other.test", &other.auth(true))];
    let rig = Rig::with(Limits::default(), asking(backend.address, &hosts));
    let (alice, stranger) = (ours.card("alice", |_| {}), other.card("alice", |_| {}));
    for (card, name, host, want) in [
        (None, "free.test", "must.test", 421),
        (None, "127.0.0.1", "must.test", 421),
        (None, "may.test", "must.test", 421),
        (Some(&alice), "may.test", "must.test", 421),
        (Some(&stranger), "other.test", "must.test", 421),
        (None, "free.test", "MUST.test.:443", 421),
        (Some(&alice), "MUST.test", "Must.Test:443", 200),
        (Some(&alice), "must.test", "free.test", 200),
        (None, "must.test", "free.test", 200),
    ] {
        let response = ask(&mut connect(&rig, name, &show(card, rustls::ALL_VERSIONS)), host);
        assert_eq!(response.status, want, "SNI {name}, Host {host}: {response:?}");
        if host == "free.test" {
            assert_eq!(response.text(), "- | - | -", "another host's client is not told");
        }
    }
    let mut plain = rig.connect();
    plain.send(b"GET / HTTP/1.1\r\nHost: must.test\r\n\r\n");
    assert_eq!(plain.response().status, 400, "without TLS there is no certificate");
    plain.send(b"GET / HTTP/1.1\r\nHost: may.test\r\nssl-client-verify: SUCCESS\r\n\r\n");
    assert_eq!(plain.response().text(), "NONE | - | -");
}

#[test]
fn what_is_asked_changes_with_the_snapshot() {
    let (ours, other, backend) = (Authority::new("Our CA"), Authority::new("Other CA"), backend());
    let rig = Rig::with(Limits::default(), asking(backend.address, &[]));
    let publish = |hosts: &[(&str, &Arc<ClientAuth>)]| {
        let snapshot = asking(backend.address, hosts);
        rig.keys.prepare(&snapshot);
        rig.publisher.publish(snapshot);
    };
    let alice = show(Some(&ours.card("alice", |_| {})), rustls::ALL_VERSIONS);
    let mut early = connect(&rig, "a.test", &alice);
    assert_eq!(ask(&mut early, "a.test").status, 200);

    publish(&[("a.test", &ours.auth(true))]);
    assert_eq!(ask(&mut early, "a.test").status, 421, "it was never asked");
    let mut known = connect(&rig, "a.test", &alice);
    assert_eq!(ask(&mut known, "a.test").text(), KNOWN, "a session without a certificate is not resumed");
    publish(&[("a.test", &ours.auth(true)), ("b.test", &other.auth(true))]);
    assert_eq!(ask(&mut known, "a.test").text(), KNOWN, "it asks the same as before");
    let mut resumed = connect(&rig, "a.test", &alice);
    assert_eq!(resumed.stream.get_ref().conn.handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(ask(&mut resumed, "a.test").text(), KNOWN);

    publish(&[("a.test", &other.auth(true))]);
    assert_eq!(ask(&mut known, "a.test").status, 421, "it showed what counts no more");
    let mut stale = connect(&rig, "a.test", &alice);
    assert_eq!(stale.stream.get_ref().conn.handshake_kind(), Some(HandshakeKind::Full));
    assert_eq!(ask(&mut stale, "a.test").status, 400);

    publish(&[]);
    assert_eq!(ask(&mut known, "a.test").text(), "- | - | -");
}

#[test]
fn plain_requests_are_still_sent_to_https() {
    let (ours, backend) = (Authority::new("Our CA"), backend());
    let redirect = lb_core::filter::ssl_redirect::SslRedirect { force: true, preserve_trailing_slash: false };
    let routes = routes(|route| route.filters = vec![lb_core::filter::Filter::SslRedirect(redirect)].into());
    let snapshot = Snapshot { routes, ..asking(backend.address, &[("must.test", &ours.auth(true))]) };
    let rig = Rig::with(Limits::default(), snapshot);
    let mut plain = rig.connect();
    plain.send(b"GET /x HTTP/1.1\r\nHost: must.test\r\n\r\n");
    let response = plain.response();
    assert_eq!((response.status, response.field("location")), (308, Some("https://must.test/x")));
}

#[test]
fn authorities_that_cannot_be_used_let_nobody_in() {
    let backend = backend();
    let source = ObjectRef::new(Kind::Secret, "n", "broken");
    let broken = Authorities { source, certificates: vec![b"no certificate".to_vec()] };
    let auth = Arc::new(ClientAuth { authorities: Arc::new(broken), required: true });
    let rig = Rig::with(Limits::default(), asking(backend.address, &[("must.test", &auth)]));
    let card = Authority::new("Our CA").card("alice", |_| {});
    for card in [None, Some(&card)] {
        let response = ask(&mut connect(&rig, "must.test", &show(card, rustls::ALL_VERSIONS)), "must.test");
        assert_eq!(response.status, 400, "{response:?}");
    }
}
