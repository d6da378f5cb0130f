//! Upgrades (RFC 9110 section 7.8): which of them are passed on to an endpoint, and which 101 agrees to one.
//!
//! Goes in: the fields of a head. Comes out: an [`Upgrade`] of a request, and what of it must be kept to know its answer.
//! Only one protocol at a time is passed on, and never one that is HTTP again: bytes after it would be requests that
//! nobody here has looked at. Everything else is an ordinary request.

use super::lexical::is_token;
use super::response::Response;
use super::{Framing, Version};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use h2::ext::Protocol;
use http::request::Parts;
use http::{HeaderValue, Method, header};
use httparse::Header;

/// Protocols that are HTTP, or TLS with HTTP in it; the part before `/` of what the client names.
const NEVER: [&str; 6] = ["h2c", "h2", "h3", "http", "https", "tls"];

/// The protocol whose answer can be verified (RFC 6455).
const WEBSOCKET: &str = "websocket";

/// The field that a WebSocket begins with.
const KEY: &str = "sec-websocket-key";

/// What is hashed behind the key (RFC 6455 section 1.3).
const WEBSOCKET_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upgrade<'b> {
    /// As the client wrote it.
    pub protocol: &'b str,
    /// `Sec-WebSocket-Key`, of a WebSocket.
    key: Option<&'b [u8]>,
}

/// What the answer to an upgrade must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    protocol: Box<str>,
    /// `Sec-WebSocket-Accept`, of a WebSocket.
    accept: Option<String>,
}

impl<'b> Upgrade<'b> {
    /// The upgrade of a request, if it is one that is passed on.
    pub(super) fn read(framing: &Framing<'b>, fields: &[Header<'b>], version: Version) -> Option<Self> {
        let protocol = protocol(framing.upgrade(version)?)?;
        if !protocol.eq_ignore_ascii_case(WEBSOCKET) {
            return Some(Self { protocol, key: None });
        }
        // Without a key the answer could be anybody's.
        only(fields, KEY).map(|key| Self { protocol, key: Some(key) })
    }

    /// The WebSocket that a stream of HTTP/2 asks for by extended CONNECT (RFC 8441 section 5); the key is ours, as its
    /// endpoint speaks HTTP/1.1 and wants one.
    pub(super) fn of_stream(fields: &[Header<'b>]) -> Option<Self> {
        only(fields, KEY).map(|key| Self { protocol: WEBSOCKET, key: Some(key) })
    }

    /// What its answer must say.
    pub fn wanted(&self) -> Wanted {
        Wanted { protocol: self.protocol.into(), accept: self.key.map(accept) }
    }
}

impl Wanted {
    /// Whether a response with status 101 agrees to this and nothing else: an endpoint that can be made to send the status
    /// alone must not open a tunnel past everything that is decided for each request.
    pub fn is_met_by(&self, response: &Response<'_, '_>) -> bool {
        let agreed = response.upgrade.is_some_and(|value| value.eq_ignore_ascii_case(self.protocol.as_bytes()));
        let proven = match &self.accept {
            Some(accept) => only(response.fields, "sec-websocket-accept") == Some(accept.as_bytes()),
            None => true,
        };
        agreed && proven
    }
}

/// Makes an extended CONNECT for a WebSocket the request that HTTP/1.1 has for it; `random` becomes the key. Answers
/// whether it is one.
pub fn translate(head: &mut Parts, random: [u8; 16]) -> bool {
    let protocol = head.extensions.get::<Protocol>().map(Protocol::as_str);
    if head.method != Method::CONNECT || !protocol.is_some_and(|name| name.eq_ignore_ascii_case(WEBSOCKET)) {
        return false;
    }
    head.method = Method::GET;
    head.headers.remove(header::CONTENT_LENGTH);
    // Base64 has no character that a value cannot have.
    if let Ok(key) = HeaderValue::from_str(&STANDARD.encode(random)) {
        head.headers.insert(header::SEC_WEBSOCKET_KEY, key);
    }
    true
}

/// One protocol, `name [ "/" version ]`, that may be passed on.
fn protocol(value: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    let (name, version) = text.split_once('/').unwrap_or((text, "1"));
    let tokens = [name, version].iter().all(|part| !part.is_empty() && part.bytes().all(is_token));
    let never = NEVER.iter().any(|never| never.eq_ignore_ascii_case(name));
    (tokens && !never).then_some(text)
}

/// The value of a field that is there once.
fn only<'b>(fields: &[Header<'b>], name: &str) -> Option<&'b [u8]> {
    let mut found = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
    let first = found.next()?;
    if found.next().is_some() { None } else { Some(first.value) }
}

/// `Sec-WebSocket-Accept` of a key (RFC 6455 section 4.2.2).
fn accept(key: &[u8]) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(WEBSOCKET_GUID);
    STANDARD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::proxy::head::{no_fields, request, response};

    /// The key of RFC 6455 section 1.3, and its answer.
    const KEY_LINE: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    fn asked(version: &str, lines: &str) -> Option<Wanted> {
        let (head, mut fields) = (format!("GET / {version}\r\nHost: a\r\n{lines}\r\n"), no_fields());
        let request = request::parse(head.as_bytes(), &mut fields, &Limits::default()).expect("well formed");
        request.upgrade.map(|upgrade| upgrade.wanted())
    }

    #[test]
    fn one_protocol_that_is_not_http_is_passed_on() {
        let check = |lines: &str, want: Option<&str>| {
            assert_eq!(asked("HTTP/1.1", lines).as_ref().map(|wanted| &*wanted.protocol), want, "{lines}");
        };
        check(&format!("Connection: Upgrade\r\nUpgrade: WebSocket\r\n{KEY_LINE}"), Some("WebSocket"));
        check(&format!("Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n{KEY_LINE}"), Some("websocket"));
        check("Connection: upgrade\r\nUpgrade: tcp\r\n", Some("tcp"));
        check("Connection: upgrade\r\nUpgrade: SPDY/3.1\r\n", Some("SPDY/3.1"));
        check("Connection: upgrade\r\nUpgrade: websocket\r\n", None);
        check(&format!("Connection: upgrade\r\nUpgrade: websocket\r\n{KEY_LINE}{KEY_LINE}"), None);
        check(&format!("Upgrade: websocket\r\n{KEY_LINE}"), None);
        check(&format!("Connection: upgrade\r\n{KEY_LINE}"), None);
        for evil in
            ["h2c", "H2C", "h2", "HTTP/2.0", "TLS/1.0", "websocket, h2c", "h2c, tcp", "a b", "", "/1", "a/", "a/b/c"]
        {
            check(
                &format!("Connection: upgrade, http2-settings\r\nUpgrade: {evil}\r\nHTTP2-Settings: AAMAAABk\r\n"),
                None,
            );
        }
        check("Connection: upgrade\r\nUpgrade: tcp\r\nUpgrade: tcp\r\n", None);
        assert_eq!(asked("HTTP/1.0", "Connection: upgrade\r\nUpgrade: tcp\r\n"), None, "RFC 9110 section 7.8");
    }

    #[test]
    fn an_answer_agrees_to_what_was_asked_and_proves_it() {
        let check = |wanted: &Wanted, version: &str, lines: &str, want: bool| {
            let (head, mut fields) = (format!("{version} 101 Switching Protocols\r\n{lines}\r\n"), no_fields());
            let response = response::parse(head.as_bytes(), &mut fields, false).expect("well formed");
            assert_eq!(wanted.is_met_by(&response), want, "{wanted:?}: {lines}");
        };
        let websocket =
            asked("HTTP/1.1", &format!("Connection: upgrade\r\nUpgrade: websocket\r\n{KEY_LINE}")).expect("it");
        let agreed = "Connection: Upgrade\r\nUpgrade: WebSocket\r\n";
        check(&websocket, "HTTP/1.1", &format!("{agreed}{ACCEPT}"), true);
        check(&websocket, "HTTP/1.0", &format!("{agreed}{ACCEPT}"), false);
        check(&websocket, "HTTP/1.1", agreed, false);
        check(&websocket, "HTTP/1.1", &format!("{agreed}{ACCEPT}{ACCEPT}"), false);
        check(&websocket, "HTTP/1.1", &format!("{agreed}Sec-WebSocket-Accept: AAAA\r\n"), false);
        check(&websocket, "HTTP/1.1", &format!("Upgrade: websocket\r\n{ACCEPT}"), false);
        check(&websocket, "HTTP/1.1", &format!("Connection: upgrade\r\nUpgrade: tcp\r\n{ACCEPT}"), false);
        check(&websocket, "HTTP/1.1", &format!("Connection: upgrade\r\nUpgrade: websocket, tcp\r\n{ACCEPT}"), false);
        let tcp = asked("HTTP/1.1", "Connection: upgrade\r\nUpgrade: tcp\r\n").expect("it");
        check(&tcp, "HTTP/1.1", "Connection: upgrade\r\nUpgrade: tcp\r\n", true);
        check(&tcp, "HTTP/1.1", "", false);
    }
}
