//! ClientHellos as tables: made by hand, in records of any size, and by rustls.

use super::*;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::sync::Arc;

/// A vector behind its length.
fn sized(width: usize, bytes: &[u8]) -> Vec<u8> {
    [&bytes.len().to_be_bytes()[8 - width..], bytes].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized(2, data)].concat()
}

fn names(names: &[(u8, &[u8])]) -> Vec<u8> {
    let list: Vec<u8> = names.iter().flat_map(|(kind, name)| [vec![*kind], sized(2, name)].concat()).collect();
    extension(SERVER_NAME, &sized(2, &list))
}

fn name(name: &str) -> Vec<u8> {
    names(&[(HOST_NAME, name.as_bytes())])
}

/// A message with these extensions; `None`: with no place for any.
fn message(extensions: Option<&[Vec<u8>]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.extend_from_slice(&sized(1, &[9; 32]));
    body.extend_from_slice(&sized(2, &[0x1a, 0x1a, 0x13, 1]));
    body.extend_from_slice(&sized(1, &[0]));
    if let Some(extensions) = extensions {
        body.extend_from_slice(&sized(2, &extensions.concat()));
    }
    [vec![CLIENT_HELLO], sized(3, &body)].concat()
}

/// In records with so many bytes each.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|piece| [vec![HANDSHAKE, 3, 1], sized(2, piece)].concat()).collect()
}

fn one(extensions: &[Vec<u8>]) -> Vec<u8> {
    records(&message(Some(extensions)), FRAGMENT_BYTES_MAX)
}

fn whole(bytes: &[u8]) -> Option<String> {
    match parse(bytes) {
        Ok(Parsed::Whole { bytes: size, name }) => {
            assert_eq!(size, bytes.len());
            name
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_name_is_found_among_extensions() {
    let grease = extension(0x5a5a, &[]);
    let late_grease = extension(0xfafa, &[0]);
    // An encrypted ClientHello: its inner name is nobody's business here, though it be written in the clear.
    let ech = extension(0xfe0d, &[&[0, 0, 1, 0, 1, 5, 0, 0], &name("inner.test")[..]].concat());
    let check = |extensions: &[Vec<u8>], want: Option<&str>| assert_eq!(whole(&one(extensions)).as_deref(), want);
    check(&[name("a.test")], Some("a.test"));
    check(&[grease.clone(), name("a.test"), late_grease.clone()], Some("a.test"));
    check(&[grease.clone(), ech.clone(), name("outer.test")], Some("outer.test"));
    check(&[name("outer.test"), ech.clone()], Some("outer.test"));
    check(&[ech], None);
    check(&[grease, late_grease], None);
    check(&[], None);
    check(&[name("A.Test.")], Some("A.Test."));
    check(&[name("_sip.a-b.test")], Some("_sip.a-b.test"));
    assert_eq!(whole(&records(&message(None), 100)), None, "no extensions at all");
}

#[test]
fn records_of_any_size_are_joined_and_what_follows_is_left() {
    let message = message(Some(&[name("a.test")]));
    for size in [1, 2, 3, 4, 5, 50, message.len() - 1, message.len()] {
        let bytes = records(&message, size);
        assert_eq!(whole(&bytes).as_deref(), Some("a.test"), "{size}");
        for count in 0..bytes.len() {
            assert_eq!(parse(&bytes[..count]), Ok(Parsed::Partial), "{count} bytes of records of {size}");
        }
        let more = [&bytes[..], &[20, 3, 3, 0, 1, 1, 0xff]].concat();
        let want = Parsed::Whole { bytes: bytes.len(), name: Some("a.test".to_owned()) };
        assert_eq!(parse(&more), Ok(want), "{size}");
    }
}

#[test]
fn what_is_no_hello_is_refused_at_once() {
    let good = one(&[name("a.test")]);
    let with = |place: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[place] = byte;
        bytes
    };
    let check = |bytes: &[u8], want: Malformed| assert_eq!(parse(bytes), Err(want), "{bytes:02x?}");
    check(b"GET / HTTP/1.1\r\n\r\n", Malformed::Record);
    check(b"G", Malformed::Record);
    check(&[HANDSHAKE, 2], Malformed::Record);
    check(&[HANDSHAKE, 3, 1, 0, 0], Malformed::Record);
    check(&[HANDSHAKE, 3, 1, 0x40, 1], Malformed::Record);
    check(&[HANDSHAKE, 3, 1, 0, 5, 2], Malformed::Message);
    // Longer than is read, in one record or in several.
    check(&[HANDSHAKE, 3, 1, 1, 0, CLIENT_HELLO, 0, 0x40, 0], Malformed::TooLong);
    check(&[HANDSHAKE, 3, 1, 1, 0, CLIENT_HELLO, 0xff, 0xff, 0xff], Malformed::TooLong);
    let large = message(Some(&[extension(21, &vec![0; 15_000])]));
    assert_eq!(whole(&records(&large, FRAGMENT_BYTES_MAX)), None);
    check(&records(&large, 10), Malformed::TooLong);
    // A record that holds more than the message.
    let trailing = records(&[message(Some(&[])), vec![1]].concat(), FRAGMENT_BYTES_MAX);
    check(&trailing, Malformed::Message);
    // The second record is of another kind.
    let mut other = records(&message(Some(&[name("a.test")])), 60);
    other[65] = 20;
    check(&other, Malformed::Record);
    // Lengths inside: of the session, of the suites, of the extensions.
    check(&with(43, 33), Malformed::Body);
    check(&with(43, 255), Malformed::Body);
    check(&with(77, 3), Malformed::Body);
    check(&with(84, 1), Malformed::Body);
}

#[test]
fn a_name_is_there_once_and_is_a_name() {
    let check = |extensions: &[Vec<u8>]| assert_eq!(parse(&one(extensions)), Err(Malformed::Name), "{extensions:02x?}");
    check(&[name("a.test"), name("a.test")]);
    check(&[names(&[(HOST_NAME, b"a.test"), (HOST_NAME, b"b.test")])]);
    check(&[names(&[(1, b"a.test")])]);
    check(&[names(&[])]);
    check(&[extension(SERVER_NAME, &[])]);
    check(&[extension(SERVER_NAME, &[0, 4, HOST_NAME, 0, 1, b'a', 0])]);
    let label = "a".repeat(LABEL_BYTES_MAX + 1);
    for bad in ["", ".", "a..b", ".a", "a b", "a\0", "a/b", "a:1", "[::1]", "é.test", &label, &"a.".repeat(128)] {
        check(&[name(bad)]);
    }
    assert_eq!(whole(&one(&[name(&label[1..])])).as_deref(), Some(&label[1..]));
}

#[test]
fn hellos_of_rustls_are_read_as_rustls_reads_them() {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config =
        Arc::new(builder.expect("versions").with_root_certificates(RootCertStore::empty()).with_no_client_auth());
    for (asked, want) in [("a.test", Some("a.test")), ("192.0.2.1", None)] {
        let mut client =
            ClientConnection::new(config.clone(), asked.to_owned().try_into().expect("a name")).expect("it");
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("written");
        assert!(bytes.len() > 1_000, "a key share of ML-KEM is in it");
        assert_eq!(whole(&bytes).as_deref(), want);
    }
}
