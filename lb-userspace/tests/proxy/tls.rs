//! TLS: the certificate by server name, the default one, and a swap by publishing.

use crate::rig::{Backend, Client, Rig, dial, eventually, noise, ok, snapshot};
use lb_core::Snapshot;
use lb_core::model::certificate::PrivateKey;
use lb_core::model::{Certificate, CertificateTable, HostPattern, Kind, ObjectRef};
use lb_userspace::config::Limits;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// Takes any certificate: the tests compare what came.
#[derive(Debug)]
pub struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

pub fn config(versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// A connection with this server name; an IP address sends none.
pub fn connect(address: SocketAddr, name: &str, config: Arc<ClientConfig>) -> Client<Tls> {
    let client = secure(dial(address), name, config);
    assert_eq!(client.stream.get_ref().conn.alpn_protocol(), Some(b"http/1.1".as_slice()));
    client
}

/// TLS with this server name over a connection.
pub fn secure(tcp: TcpStream, name: &str, config: Arc<ClientConfig>) -> Client<Tls> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut stream = StreamOwned::new(ClientConnection::new(config, name).expect("a client"), tcp);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).expect("a handshake");
    }
    Client::new(stream)
}

pub fn leaf(client: &Client<Tls>) -> Vec<u8> {
    client.stream.get_ref().conn.peer_certificates().and_then(|chain| chain.first()).expect("a leaf").to_vec()
}

pub fn certificate(name: &str, key: impl FnOnce(Vec<u8>) -> PrivateKey) -> Arc<Certificate> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let der = made.cert.der().to_vec();
    Arc::new(Certificate {
        source: ObjectRef::new(Kind::Secret, "n", name),
        fingerprint: format!("{:x?}", der.get(der.len() - 24..)),
        chain: vec![der],
        key: key(made.signing_key.serialize_der()),
        names: vec![name.to_owned()],
        not_before_s: 0,
        not_after_s: i64::MAX,
    })
}

pub fn with_certificates(endpoint: SocketAddr, bindings: &[(&str, &Arc<Certificate>)]) -> Snapshot {
    let mut certificates = CertificateTable::default();
    for (name, certificate) in bindings {
        certificates.insert(&HostPattern::parse(name).expect("a host"), (*certificate).clone());
    }
    Snapshot { certificates: certificates.into(), ..snapshot(&[endpoint]) }
}

#[test]
fn the_certificate_goes_by_server_name_exact_before_wildcard() {
    let backend = Backend::echo();
    let (exact, wildcard) =
        (certificate("a.foo.test", PrivateKey::Pkcs8), certificate("*.foo.test", PrivateKey::Pkcs8));
    let snapshot = with_certificates(backend.address, &[("a.foo.test", &exact), ("*.foo.test", &wildcard)]);
    let rig = Rig::with(Limits::default(), snapshot);
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let config = config(versions);
        let of = |name| leaf(&connect(rig.https, name, config.clone()));
        assert_eq!(of("a.foo.test"), exact.chain[0]);
        assert_eq!(of("A.FOO.test"), exact.chain[0]);
        assert_eq!(of("b.foo.test"), wildcard.chain[0]);
        let default = of("foo.test");
        assert!(![&exact.chain[0], &wildcard.chain[0]].contains(&&default));
        assert_eq!(of("b.a.foo.test"), default);
        assert_eq!(of("127.0.0.1"), default);
    }
    assert_eq!(rig.keys.default_fingerprint().len(), 64);
}

#[test]
fn requests_through_tls() {
    let backend = Backend::http(|seen| if seen.body.is_empty() { ok(seen.path().as_bytes()) } else { ok(&seen.body) });
    let rig = Rig::start(&[backend.address]);
    let mut client = connect(rig.https, "a.test", config(rustls::ALL_VERSIONS));
    for i in 0..20 {
        assert_eq!(client.get(&format!("/{i}")).text(), format!("/{i}"));
    }
    client.send(b"GET /one HTTP/1.1\r\nHost: a\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "/one");
    assert_eq!(client.response().text(), "/two");
    let body = noise(3_000_000);
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
    client.send(&body);
    assert!(client.response().body == body);
    let seen = &backend.seen()[0];
    assert_eq!(seen.field("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.field("x-forwarded-port"), Some(rig.https.port().to_string().as_str()));
    client.send(b"bad\r\n\r\n");
    assert_eq!(client.response().status, 400);
    assert!(client.is_closed());
}

#[test]
fn a_tunnel_through_tls_passes_the_end_of_one_direction_on() {
    let backend = Backend::raw(|mut stream, _| {
        let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
        crate::rig::read_head(&mut reader).expect("a head");
        let agreed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n";
        stream.write_all(agreed).expect("sent");
        let mut got = Vec::new();
        reader.read_to_end(&mut got).expect("the end");
        stream.write_all(&got).expect("sent");
    });
    let rig = Rig::start(&[backend.address]);
    let mut client = connect(rig.https, "a.test", config(rustls::ALL_VERSIONS));
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n");
    assert_eq!(client.response().status, 101);
    let (sent, mut got) = (noise(1_000_000), Vec::new());
    client.send(&sent);
    let tls = client.stream.get_mut();
    tls.conn.send_close_notify();
    tls.flush().expect("sent");
    client.stream.read_to_end(&mut got).expect("everything, then the end");
    assert!(got == sent);
}

#[test]
fn a_certificate_is_swapped_by_publishing_and_old_connections_go_on() {
    let backend = Backend::echo();
    let (old, new) = (certificate("a.test", PrivateKey::Pkcs8), certificate("a.test", PrivateKey::Pkcs8));
    let rig = Rig::with(Limits::default(), with_certificates(backend.address, &[("a.test", &old)]));
    let config = config(rustls::ALL_VERSIONS);
    let mut before = connect(rig.https, "a.test", config.clone());
    assert_eq!(leaf(&before), old.chain[0]);
    let swapped = with_certificates(backend.address, &[("a.test", &new)]);
    rig.keys.prepare(&swapped);
    assert_eq!(leaf(&connect(rig.https, "a.test", config.clone())), old.chain[0], "prepared, not published");
    rig.publisher.publish(swapped);
    assert_eq!(before.get("/").status, 200);
    let fresh = self::config(rustls::ALL_VERSIONS);
    assert_eq!(leaf(&connect(rig.https, "a.test", fresh)), new.chain[0]);
}

#[test]
fn a_key_that_cannot_sign_leaves_its_names_with_the_default_certificate() {
    let backend = Backend::echo();
    let broken = certificate("a.test", |_| PrivateKey::Sec1(vec![1, 2, 3]));
    let rig = Rig::with(Limits::default(), with_certificates(backend.address, &[("a.test", &broken)]));
    let mut client = connect(rig.https, "a.test", config(rustls::ALL_VERSIONS));
    assert_ne!(leaf(&client), broken.chain[0]);
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn a_handshake_that_fails_or_stalls_is_ended_and_counted() {
    let rig = Rig::limited(&[], |l| l.handshake_ms_max = 300);
    let mut plain = dial(rig.https);
    plain.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let _ = plain.read_to_end(&mut Vec::new());
    let mut silent = Client::new(dial(rig.https));
    assert!(silent.is_closed());
    eventually("both", || rig.counters.handshakes_failed.get() == 2);
}
