//! Endpoints behind TLS or the PROXY protocol: whom we believe, what we show and announce, and what is shared.

use crate::rig::{Rig, eventually, field, noise, read_head, routes, snapshot};
use lb_core::Snapshot;
use lb_core::model::certificate::PrivateKey;
use lb_core::model::{Authorities, Certificate, Kind, ObjectRef, ProxyProtocol, Upstream, UpstreamTls};
use lb_userspace::config::Limits;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// An authority, and what it signed.
struct Authority {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).expect("signed").der().to_vec();
        Self { der, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key for a name, for as many days as are left of it.
    fn sign(&self, name: &str, expired: bool) -> (Vec<u8>, Vec<u8>) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        if expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate.der().to_vec(), key.serialize_der())
    }

    fn trusted(&self) -> Option<Arc<Authorities>> {
        let source = ObjectRef::new(Kind::Secret, "n", "ca");
        Some(Arc::new(Authorities { source, certificates: vec![self.der.clone()] }))
    }
}

/// What an endpoint learnt of a connection.
#[derive(Debug, Clone, Default)]
struct Learnt {
    name: Option<String>,
    certificates: usize,
    resumed: bool,
}

/// An endpoint that speaks HTTP/1.1 over TLS.
fn endpoint(
    (certificate, key): (Vec<u8>, Vec<u8>),
    clients: Option<&Authority>,
) -> (SocketAddr, Arc<Mutex<Vec<Learnt>>>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().expect("it");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(authority.der.clone())).expect("added");
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().expect("built");
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let mut config = builder.with_single_cert(vec![CertificateDer::from(certificate)], key).expect("a certificate");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("address");
    let learnt: Arc<Mutex<Vec<Learnt>>> = Arc::default();
    let log = learnt.clone();
    std::thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let (config, log) = (config.clone(), log.clone());
            std::thread::spawn(move || {
                let mut stream = StreamOwned::new(ServerConnection::new(config).expect("a server"), tcp);
                if stream.conn.complete_io(&mut stream.sock).is_err() {
                    return;
                }
                let resumed = stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
                let certificates = stream.conn.peer_certificates().map_or(0, <[_]>::len);
                let name = stream.conn.server_name().map(str::to_owned);
                log.lock().expect("lock").push(Learnt { name, certificates, resumed });
                let mut stream = BufReader::new(stream);
                while let Some(head) = read_head(&mut stream) {
                    if field(&head, "upgrade").is_some() {
                        return echo(stream);
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    if stream.get_mut().write_all(answer).and_then(|()| stream.get_mut().flush()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, learnt)
}

/// Switches, sends back what comes, and says when it was all.
fn echo(mut stream: BufReader<StreamOwned<ServerConnection, TcpStream>>) {
    let agreed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n";
    stream.get_mut().write_all(agreed).expect("sent");
    let mut bytes = [0; 4_096];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        stream.get_mut().write_all(&bytes[..count]).expect("sent");
        stream.get_mut().flush().expect("flushed");
    }
    stream.get_mut().write_all(b"all").expect("sent");
    let _ = stream.get_mut().flush();
}

fn rig(address: SocketAddr, upstream: Upstream) -> Rig {
    let routes = routes(|route| route.upstream = upstream.into());
    Rig::with(Limits::default(), Snapshot { routes, ..snapshot(&[address]) })
}

fn with_tls(tls: UpstreamTls) -> Upstream {
    Upstream { tls: Some(tls.into()), ..Upstream::default() }
}

#[test]
fn an_endpoint_is_believed_by_authority_and_name_only_where_that_is_asked() {
    let (good, other) = (Authority::new(), Authority::new());
    let name = Some("backend.test".into());
    let check = |certificate, tls: UpstreamTls, want: u16| {
        let rig = rig(endpoint(certificate, None).0, with_tls(tls.clone()));
        let response = rig.ask(b"GET / HTTP/1.1\r\nHost: backend.test\r\n\r\n");
        assert_eq!(response.status, want, "{tls:?}: {}", response.text());
        assert_eq!(response.text().contains("agrees with us on TLS"), want == 502, "{}", response.text());
    };
    let verified = |authority: &Authority| UpstreamTls { authorities: authority.trusted(), ..UpstreamTls::default() };
    check(good.sign("backend.test", false), verified(&good), 200);
    check(good.sign("backend.test", false), UpstreamTls { name: name.clone(), ..verified(&good) }, 200);
    check(good.sign("backend.test", false), UpstreamTls { name: Some("x.test".into()), ..verified(&good) }, 502);
    check(good.sign("wrong.test", false), verified(&good), 502);
    check(good.sign("backend.test", true), verified(&good), 502);
    check(good.sign("backend.test", false), verified(&other), 502);
    check(good.sign("wrong.test", true), UpstreamTls::default(), 200);
}

#[test]
fn connections_are_kept_sessions_resumed_and_names_sent_when_asked() {
    let authority = Authority::new();
    let (address, learnt) = endpoint(authority.sign("backend.test", false), None);
    let tls = UpstreamTls { send_name: true, ..UpstreamTls::default() };
    let rig = rig(address, with_tls(tls));
    let ask = |host: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(rig.ask(request.as_bytes()).text(), "ok");
    };
    for _ in 0..5 {
        ask("backend.test");
    }
    assert_eq!(learnt.lock().expect("lock").len(), 1, "one connection for five requests");
    // Another name is another connection, even to the same endpoint.
    ask("other.test");
    let names: Vec<_> = learnt.lock().expect("lock").iter().map(|l| l.name.clone()).collect();
    assert_eq!(names, [Some("backend.test".to_owned()), Some("other.test".to_owned())]);
    // Two at once need a second connection, which resumes.
    let mut clients: Vec<_> = (0..2).map(|_| rig.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(b"GET / HTTP/1.1\r\nHost: backend.test\r\n\r\n"));
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 200));
    let learnt = learnt.lock().expect("lock");
    assert!(learnt.len() == 2 || learnt.iter().skip(2).all(|l| l.resumed), "{learnt:?}");
}

#[test]
fn without_a_wish_no_name_is_sent() {
    let (address, learnt) = endpoint(Authority::new().sign("a.test", false), None);
    let rig = rig(address, with_tls(UpstreamTls::default()));
    for host in ["a", "b", "c"] {
        assert_eq!(rig.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).status, 200);
    }
    let learnt = learnt.lock().expect("lock");
    assert_eq!((learnt.len(), learnt[0].name.clone()), (1, None), "one connection serves all hosts");
}

#[test]
fn a_tunnel_through_tls_passes_the_end_of_one_direction_on() {
    let (address, _) = endpoint(Authority::new().sign("a.test", false), None);
    let rig = rig(address, with_tls(UpstreamTls::default()));
    let mut client = rig.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n");
    assert_eq!(client.response().status, 101);
    for size in [1, 20_000, 3] {
        let (sent, mut got) = (noise(size), vec![0; size]);
        client.send(&sent);
        client.stream.read_exact(&mut got).expect("it comes back");
        assert!(got == sent);
    }
    client.stream.get_mut().shutdown(Shutdown::Write).expect("shut down");
    let mut rest = String::new();
    client.stream.read_to_string(&mut rest).expect("the end");
    assert_eq!(rest, "all");
}

#[test]
fn a_certificate_of_ours_is_shown_when_the_endpoint_asks() {
    let authority = Authority::new();
    let (leaf, key) = authority.sign("client.test", false);
    let ours = Certificate {
        source: ObjectRef::new(Kind::Secret, "n", "client"),
        chain: vec![leaf],
        key: PrivateKey::Pkcs8(key),
        names: Vec::new(),
        not_before_s: 0,
        not_after_s: i64::MAX,
        fingerprint: String::new(),
    };
    let (address, learnt) = endpoint(authority.sign("a.test", false), Some(&authority));
    assert_eq!(rig(address, with_tls(UpstreamTls::default())).connect().get("/").status, 502);
    let tls = UpstreamTls { certificate: Some(ours.into()), ..UpstreamTls::default() };
    assert_eq!(rig(address, with_tls(tls)).connect().get("/").status, 200);
    assert_eq!(learnt.lock().expect("lock").last().expect("one").certificates, 1);
}

#[test]
fn an_endpoint_without_tls_or_without_http_2_is_502() {
    let plain = crate::rig::Backend::echo();
    let rig_plain = rig(plain.address, with_tls(UpstreamTls::default()));
    assert_eq!(rig_plain.connect().get("/").status, 502);
    let (address, _) = endpoint(Authority::new().sign("a.test", false), None);
    let http2 = Upstream { protocol: lb_core::model::upstream::Protocol::Http2, ..with_tls(UpstreamTls::default()) };
    assert_eq!(rig(address, http2).connect().get("/").status, 502);
}

#[test]
fn the_client_is_announced_and_its_connection_not_shared() {
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let headers: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let log = headers.clone();
        let backend = crate::rig::Backend::raw(move |mut stream, _| {
            let mut header = vec![0; if version == ProxyProtocol::V2 { 28 } else { 6 }];
            stream.read_exact(&mut header).expect("a header");
            while version == ProxyProtocol::V1 && !header.ends_with(b"\r\n") {
                header.push(0);
                let end = header.len() - 1;
                stream.read_exact(&mut header[end..]).expect("more");
            }
            log.lock().expect("lock").push(header);
            let mut stream = BufReader::new(stream);
            while read_head(&mut stream).is_some() {
                stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("sent");
            }
        });
        let rig = rig(backend.address, Upstream { proxy_protocol: Some(version), ..Upstream::default() });
        let mut client = rig.connect();
        let ours = client.stream.get_ref().local_addr().expect("address");
        for _ in 0..2 {
            assert_eq!(client.get("/").status, 200);
        }
        eventually("two headers", || headers.lock().expect("lock").len() == 2);
        let header = headers.lock().expect("lock")[0].clone();
        if version == ProxyProtocol::V1 {
            let want = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", ours.port(), rig.http.port());
            assert_eq!(String::from_utf8_lossy(&header), want);
        } else {
            assert_eq!(header[16..24], [127, 0, 0, 1, 127, 0, 0, 1]);
            assert_eq!(header[24..], [ours.port().to_be_bytes(), rig.http.port().to_be_bytes()].concat());
        }
    }
}
