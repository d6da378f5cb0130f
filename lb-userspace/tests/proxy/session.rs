//! Sessions of TLS: what is agreed on, and that it is resumed on whatever worker comes.

use crate::rig::{Backend, Edge, Rig, dial, eventually, snapshot};
use crate::tls::{Anyone, config, secure};
use lb_userspace::config::{Tls, TlsVersion};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion, SupportedProtocolVersion};
use std::sync::Arc;

fn rig(workers: usize, tls: Tls) -> (Backend, Rig) {
    let backend = Backend::echo();
    let rig = Rig::edged(Edge { tls, workers, ..Edge::default() }, snapshot(&[backend.address]));
    (backend, rig)
}

/// A client with these key exchanges, in this order; empty: with all.
fn client(versions: &[&'static SupportedProtocolVersion], groups: &[NamedGroup]) -> Arc<ClientConfig> {
    let mut provider = aws_lc_rs::default_provider();
    if !groups.is_empty() {
        let all = provider.kx_groups.clone();
        let find = |name: &NamedGroup| *all.iter().find(|group| group.name() == *name).expect("a known group");
        provider = CryptoProvider { kx_groups: groups.iter().map(find).collect(), ..provider };
    }
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    Arc::new(config)
}

/// What one connection agreed on, after a request on it.
fn agreed<T>(rig: &Rig, config: &Arc<ClientConfig>, what: impl FnOnce(&ClientConnection) -> T) -> T {
    let mut client = secure(dial(rig.https), "a.test", config.clone());
    // Tickets of TLS 1.3 come after the handshake.
    assert_eq!(client.get("/").status, 200);
    what(&client.stream.get_ref().conn)
}

fn kind(conn: &ClientConnection) -> Option<HandshakeKind> {
    conn.handshake_kind()
}

#[test]
fn sessions_are_resumed_across_workers() {
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let (_backend, rig) = rig(2, Tls::default());
        let config = client(versions, &[]);
        assert_eq!(agreed(&rig, &config, kind), Some(HandshakeKind::Full));
        // The kernel spreads connections by their ports; each worker gets some before long.
        for _ in 0..200 {
            assert_eq!(agreed(&rig, &config, kind), Some(HandshakeKind::Resumed));
            if rig.workers.iter().all(|worker| worker.connections_accepted.get() >= 3) {
                break;
            }
        }
        let accepted: Vec<u64> = rig.workers.iter().map(|worker| worker.connections_accepted.get()).collect();
        assert!(accepted.iter().all(|count| *count >= 3), "two resumptions on each worker at least: {accepted:?}");
    }
}

#[test]
fn tickets_of_another_process_are_not_taken() {
    let config = client(rustls::ALL_VERSIONS, &[]);
    let (_backend, first) = rig(1, Tls::default());
    assert_eq!(agreed(&first, &config, kind), Some(HandshakeKind::Full));
    let (_backend, second) = rig(1, Tls::default());
    assert_eq!(agreed(&second, &config, kind), Some(HandshakeKind::Full));
}

#[test]
fn the_hybrid_key_exchange_is_taken_when_it_is_offered() {
    let (_backend, rig) = rig(1, Tls::default());
    let tls13 = [&rustls::version::TLS13];
    let group = |conn: &ClientConnection| conn.negotiated_key_exchange_group().map(|group| group.name());
    let (hybrid, x25519, p256) = (NamedGroup::X25519MLKEM768, NamedGroup::X25519, NamedGroup::secp256r1);
    assert_eq!(agreed(&rig, &client(&tls13, &[]), group), Some(hybrid));
    assert_eq!(agreed(&rig, &client(&tls13, &[hybrid, x25519]), group), Some(hybrid));
    assert_eq!(agreed(&rig, &client(&tls13, &[hybrid]), group), Some(hybrid));
    // rustls honours the order of clients; all that know the hybrid have it first.
    assert_eq!(agreed(&rig, &client(&tls13, &[x25519, hybrid]), group), Some(x25519));
    assert_eq!(agreed(&rig, &client(&tls13, &[p256]), group), Some(p256));
    let tls12 = [&rustls::version::TLS12];
    assert_eq!(agreed(&rig, &client(&tls12, &[]), group), Some(x25519), "it is not of TLS 1.2");
}

#[test]
fn old_versions_are_refused_where_they_are_not_wanted() {
    let (_backend, rig) = rig(1, Tls { version_min: TlsVersion::Tls13, ..Tls::default() });
    let version = |conn: &ClientConnection| conn.protocol_version();
    assert_eq!(agreed(&rig, &config(rustls::ALL_VERSIONS), version), Some(ProtocolVersion::TLSv1_3));
    let old = ClientConnection::new(config(&[&rustls::version::TLS12]), "a.test".try_into().expect("a name"));
    let (mut old, mut tcp) = (old.expect("a client"), dial(rig.https));
    let error = old.complete_io(&mut tcp).expect_err("refused").to_string();
    assert!(error.contains("ProtocolVersion"), "{error}");
    eventually("it is counted", || rig.counters.handshakes_failed.get() == 1);
}

#[test]
fn suites_are_chosen_in_our_order_when_they_are_named() {
    let named = ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"].map(str::to_owned).to_vec();
    let (_backend, rig) = rig(1, Tls { ciphers: named, ..Tls::default() });
    let suite = |conn: &ClientConnection| conn.negotiated_cipher_suite().map(|suite| suite.suite());
    let all = config(rustls::ALL_VERSIONS);
    assert_eq!(agreed(&rig, &all, suite), Some(rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256));
    let tls12 = ClientConnection::new(config(&[&rustls::version::TLS12]), "a.test".try_into().expect("a name"));
    assert!(tls12.expect("a client").complete_io(&mut dial(rig.https)).is_err(), "none of TLS 1.2 is named");
}
