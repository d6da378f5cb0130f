//! Tests of heads: what is read as what, what is refused with which status, and that nothing panics.

use super::request::Request;
use super::*;
use crate::config::Limits;
use proptest::prelude::*;

fn limits() -> Limits {
    Limits { target_bytes_max: 64, head_fields_max: 8, ..Limits::default() }
}

fn request<T>(head: &[u8], view: impl FnOnce(Result<Request<'_, '_>, Bad>) -> T) -> T {
    view(request::parse(head, &mut no_fields(), &limits()))
}

#[test]
fn requests() {
    let check = |head: &str, want: (&str, &str, &str, Length, bool)| {
        request(head.as_bytes(), |got| {
            let got = got.unwrap_or_else(|bad| panic!("{bad} for {head:?}"));
            assert_eq!((got.method, &*got.target, got.authority, got.length, got.keep_alive), want, "{head:?}");
        });
    };
    let none = Length::None;
    check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", "/", "a", none, true));
    check("GET /a?b=c|\"{} HTTP/1.1\r\nhOST:\ta:80 \t\r\n\r\n", ("GET", "/a?b=c|\"{}", "a:80", none, true));
    check("M-SEARCH / HTTP/1.1\r\nHost:\r\n\r\n", ("M-SEARCH", "/", "", none, true));
    check("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n", ("GET", "/", "a", none, false));
    check("GET / HTTP/1.0\r\n\r\n", ("GET", "/", "", none, false));
    check("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n", ("GET", "/", "a", none, true));
    check("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\n", ("PUT", "/", "a", Length::Sized(7), true));
    let max = format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", u64::MAX);
    check(&max, ("PUT", "/", "a", Length::Sized(u64::MAX), true));
    check("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", ("PUT", "/", "a", Length::Chunked, true));
    check("GET http://A.b:80/p?q HTTP/1.1\r\nHost: a.B:80\r\n\r\n", ("GET", "/p?q", "A.b:80", none, true));
    check("GET HTTPS://a?q HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", "/?q", "a", none, true));
    check("GET http://a HTTP/1.0\r\n\r\n", ("GET", "/", "a", none, false));
    check("GET //a HTTP/1.1\r\nHost: 10.0.0.1\r\nUpgrade: h2c\r\n\r\n", ("GET", "//a", "10.0.0.1", none, true));
    check("GET / HTTP/1.1\r\nHost: [::1]:80\r\nX-Y: \u{fc}\r\nZ:\r\n\r\n", ("GET", "/", "[::1]:80", none, true));
}

#[test]
fn requests_of_http_2() {
    let check = |uri: &str, fields: &[(&str, &str)], ends: bool, want: Result<(&str, &str, Length), u16>| {
        let mut builder = http::Request::post(uri);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        let (parts, ()) = builder.body(()).expect("a head").into_parts();
        let mut room = no_fields();
        let follows = if ends { request::Follows::Nothing } else { request::Follows::Content };
        let got = request::of_h2(&parts, follows, &mut room, &limits());
        let got = got.as_ref().map(|r| (&*r.target, r.authority, r.length)).map_err(Bad::status);
        assert_eq!(got, want, "{uri} {fields:?}");
    };
    check("http://a.b/p?q", &[], true, Ok(("/p?q", "a.b", Length::None)));
    check("https://a:80/", &[], false, Ok(("/", "a:80", Length::UntilClose)));
    check("http://a/", &[("content-length", "5")], false, Ok(("/", "a", Length::Sized(5))));
    check("http://a/", &[("host", "A")], true, Ok(("/", "a", Length::None)));
    check("/p", &[("host", "h")], true, Ok(("/p", "h", Length::None)));
    check("/p", &[], true, Err(400));
    check("http://a/", &[("host", "b")], true, Err(400));
    check("/", &[("host", "a"), ("host", "a")], true, Err(400));
    check("http://u@a/", &[], true, Err(400));
    check("http://a/", &[("content-length", "5"), ("content-length", "5")], false, Err(400));
    check("http://a/", &[("content-length", "+5")], false, Err(400));
    check("http://a/", &[("transfer-encoding", "chunked")], false, Err(400));
    check("http://a/", &[("expect", "x")], false, Err(417));
    let long = format!("http://a/{}", "x".repeat(64));
    check(&long, &[], true, Err(414));
    let many: Vec<_> = (0..9).map(|_| ("x", "y")).collect();
    check("http://a/", &many, true, Err(431));
}

#[test]
fn expectations_are_of_http_1_1_and_of_bodies() {
    let check = |head: &str, want| request(head.as_bytes(), |r| assert_eq!(r.map(|r| r.expects_continue), Ok(want)));
    check("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n", true);
    check("PUT / HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", false);
    check("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", false);
}

#[test]
fn malformed_requests() {
    for (head, want) in malformed() {
        request(&head, |got| {
            let got = got.map(|r| format!("{r:?}")).map_err(|bad| bad.status());
            assert_eq!(got, Err(want), "{:?}", String::from_utf8_lossy(&head));
        });
    }
}

/// Heads, each with the status that refuses it.
fn malformed() -> Vec<(Vec<u8>, u16)> {
    let lines: &[(&str, u16)] = &[
        ("", 400),
        ("GET", 400),
        ("GET /", 400),
        ("GET  / HTTP/1.1", 400),
        ("GET /  HTTP/1.1", 400),
        ("GET / HTTP/1.1 ", 400),
        (" GET / HTTP/1.1", 400),
        ("GET\t/ HTTP/1.1", 400),
        ("GET / / HTTP/1.1", 400),
        ("GET /a b HTTP/1.1", 400),
        ("G(T / HTTP/1.1", 400),
        ("G\u{e9}T / HTTP/1.1", 400),
        ("GE\0T / HTTP/1.1", 400),
        ("/ HTTP/1.1", 400),
        ("GET / http/1.1", 400),
        ("GET / HTTP/1", 400),
        ("GET / HTTP/1.10", 400),
        ("GET / HTTP/1.x", 400),
        ("GET / HTTP/ 1.1", 400),
        ("GET / HTP/1.1", 400),
        ("GET / HTTP/1.2", 505),
        ("GET / HTTP/0.9", 505),
        ("GET / HTTP/2.0", 505),
        ("GET / HTTP/3.0", 505),
        ("PRI * HTTP/2.0", 505),
        ("GET a HTTP/1.1", 400),
        ("GET ?a HTTP/1.1", 400),
        ("GET a:80 HTTP/1.1", 400),
        ("GET /a#b HTTP/1.1", 400),
        ("GET /a\u{1} HTTP/1.1", 400),
        ("GET /a\u{7f} HTTP/1.1", 400),
        ("GET /\u{e9} HTTP/1.1", 400),
        ("GET /a\rb HTTP/1.1", 400),
        ("GET * HTTP/1.1", 400),
        ("OPTIONS * HTTP/1.1", 400),
        ("CONNECT a:443 HTTP/1.1", 501),
        ("GET http:///a HTTP/1.1", 400),
        ("GET http://u@a/ HTTP/1.1", 400),
        ("GET http://other/ HTTP/1.1", 400),
        ("GET http://a:81/ HTTP/1.1", 400),
        ("GET ftp://a/ HTTP/1.1", 400),
        ("GET http:/a HTTP/1.1", 400),
    ];
    let fields: &[(&str, u16)] = &[
        ("Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", 400),
        ("Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0", 400),
        ("Host: a\r\nContent-Length: 1\r\nContent-Length: 1", 400),
        ("Host: a\r\nContent-Length: 1\r\nContent-Length: 2", 400),
        ("Host: a\r\nContent-Length: 1, 1", 400),
        ("Host: a\r\nContent-Length: +1", 400),
        ("Host: a\r\nContent-Length: -1", 400),
        ("Host: a\r\nContent-Length:", 400),
        ("Host: a\r\nContent-Length: 1 1", 400),
        ("Host: a\r\nContent-Length: 0x1", 400),
        ("Host: a\r\nContent-Length: 1.0", 400),
        ("Host: a\r\nContent-Length: 1e1", 400),
        ("Host: a\r\nContent-Length: \u{661}", 400),
        ("Host: a\r\nContent-Length: 18446744073709551616", 400),
        ("Host: a\r\nContent-Length: 99999999999999999999999", 400),
        ("Host: a\r\nTransfer-Encoding: gzip, chunked", 501),
        ("Host: a\r\nTransfer-Encoding: gzip", 501),
        ("Host: a\r\nTransfer-Encoding: chunked, chunked", 400),
        ("Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
        ("Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400),
        ("Host: a\r\nTransfer-Encoding: identity", 400),
        ("Host: a\r\nTransfer-Encoding: xchunked", 400),
        ("Host: a\r\nTransfer-Encoding: chunked;q=1", 400),
        ("Host: a\r\nTransfer-Encoding: \"chunked\"", 400),
        ("Host: a\r\nTransfer-Encoding:", 400),
        ("Host: a\r\nTransfer-Encoding: ,chunked", 400),
        ("Host: a\r\nTransfer-Encoding: chunked,", 400),
        ("Host: a\r\nTransfer-Encoding: \u{b}chunked", 400),
        ("Host: a\r\nTransfer-Encoding : chunked", 400),
        ("Host: a\r\nTransfer-Encoding\t: chunked", 400),
        ("Host: a\r\n Transfer-Encoding: chunked", 400),
        ("Host: a\r\nX: y\r\n folded", 400),
        ("Host: a\r\nX: y\r\n\tfolded", 400),
        (" X: y\r\nHost: a", 400),
        ("Host: a\r\n: empty", 400),
        ("Host: a\r\nno-colon", 400),
        ("Host: a\r\nX Y: z", 400),
        ("Host: a\r\nX\u{e9}: z", 400),
        ("Host: a\r\n(X): z", 400),
        ("Host: a\r\nX\0: z", 400),
        ("Host: a\r\nX: a\0b", 400),
        ("Host: a\r\nX: a\rb", 400),
        ("Host: a\r\nX: a\r", 400),
        ("Host: a\r\nX: a\u{1b}b", 400),
        ("Host: a\r\nX: a\u{7f}", 400),
        ("X: y", 400),
        ("Host: a\r\nHost: a", 400),
        ("Host: a\r\nhost: b", 400),
        ("Host: u@a", 400),
        ("Host: a b", 400),
        ("Host: a/b", 400),
        ("Host: a, b", 400),
        ("Host: a:b", 400),
        ("Host: a:65536", 400),
        ("Host: [::1", 400),
        ("Host: http://a", 400),
        ("Host: a\\b", 400),
        ("Host: a?b", 400),
        ("Host: \u{e9}", 400),
        ("Host: a\r\nExpect: 200-ok", 417),
        ("Host: a\r\nConnection: \u{e9}", 400),
        ("Host: a\r\nConnection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", 400),
        ("Host: a\r\nA:\r\nB:\r\nC:\r\nD:\r\nE:\r\nF:\r\nG:\r\nH:", 431),
    ];
    let first = lines.iter().map(|(line, status)| (format!("{line}\r\nHost: a\r\n\r\n"), *status));
    let rest = fields.iter().map(|(lines, status)| (format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n"), *status));
    let others = [
        ("PUT / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(64)), 414),
        ("GET / HTTP/1.1\nHost: a\r\n\r\n".to_owned(), 400),
        // The end of a head is found by `lexical`; here it must be whole.
        ("GET / HTTP/1.1\r\nHost: a\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\nrest".to_owned(), 400),
    ];
    let latin1 = |text: String| text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
    first.chain(rest).chain(others).map(|(head, status)| (latin1(head), status)).collect()
}

#[test]
fn there_are_enough_malformed_heads() {
    assert!(malformed().len() >= 100, "{}", malformed().len());
}

#[test]
fn responses() {
    let check = |head: &str, to_head: bool, want: Option<(u16, Length, Option<u64>, bool)>| {
        let mut fields = no_fields();
        let got = response::parse(head.as_bytes(), &mut fields, to_head);
        let got = got.ok().map(|r| (r.status, r.length, r.stated_length, r.keep_alive));
        assert_eq!(got, want, "{head:?}");
    };
    let until_close = Length::UntilClose;
    check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false, Some((200, Length::Sized(3), Some(3), true)));
    check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, Some((200, Length::None, Some(3), true)));
    check("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", false, Some((200, Length::Chunked, None, true)));
    check("HTTP/1.1 200 \r\n\r\n", false, Some((200, until_close, None, false)));
    check("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", false, Some((200, Length::Sized(1), Some(1), false)));
    check("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", false, Some((304, Length::None, Some(9), true)));
    check("HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\n", false, Some((204, Length::None, None, true)));
    check("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", false, Some((103, Length::None, None, true)));
    for line in [
        "",
        "HTTP/1.1",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 abc OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 600 OK",
        "HTTP/2.0 200 OK",
        "http/1.1 200 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 200OK",
        "HTTP/1.1\t200 OK",
        "ICY 200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
    ] {
        check(&format!("{line}\r\n\r\n"), false, None);
    }
    for fields in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "Content-Length: 1\r\nContent-Length: 1",
        "Content-Length: -1",
        "Transfer-Encoding: gzip",
        "X : y",
        "X: y\r\n folded",
        "X: a\0",
        "X",
    ] {
        check(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"), false, None);
    }
    check("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, None);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = lexical::head_end(&bytes, &mut 0);
        let _ = request::parse(&bytes, &mut no_fields(), &limits()).map(drop);
        let _ = response::parse(&bytes, &mut no_fields(), false).map(drop);
    }

    #[test]
    fn damaged_heads_never_panic_and_never_hide_a_length(at in 0_usize..80, byte: u8) {
        let mut head = b"POST /path?q HTTP/1.1\r\nHost: a.b:80\r\nContent-Length: 12\r\nX-Y: z\r\n\r\n".to_vec();
        let at = at % head.len();
        head[at] = byte;
        request(&head, |got| {
            if let Ok(got) = got {
                let hidden = !got.fields.iter().any(|f| f.name.eq_ignore_ascii_case("content-length"));
                prop_assert!(hidden || matches!(got.length, Length::Sized(_)));
                prop_assert!(got.fields.iter().all(|f| !f.value.contains(&b'\n') && !f.value.contains(&b'\r')));
            }
            Ok(())
        })?;
    }
}
