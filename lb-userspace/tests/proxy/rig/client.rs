//! A client that reads responses strictly, by its own reading of the standard.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};

/// A client that reads what it is sent, by the book.
pub struct Client<S: Read + Write> {
    pub stream: BufReader<S>,
}

#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

impl<S: Read + Write> Client<S> {
    pub fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("sent");
    }

    pub fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n").as_bytes());
        self.response()
    }

    pub fn response(&mut self) -> Response {
        self.response_to(false)
    }

    /// Reads one response; `head`: to a HEAD request.
    pub fn response_to(&mut self, head: bool) -> Response {
        let text = read_head(&mut self.stream).expect("a response head");
        let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        let body = if head || status < 200 || status == 204 || status == 304 {
            Vec::new()
        } else {
            read_body(&mut self.stream, &text, true).expect("a whole body")
        };
        Response { status, head: text, body }
    }

    /// Whether the other side closes now, without another byte.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof),
        }
    }
}

pub fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut found = head.lines().filter_map(|line| line.split_once(':')).filter(|(n, _)| n.eq_ignore_ascii_case(name));
    let first = found.next().map(|(_, value)| value.trim());
    assert!(found.next().is_none(), "{name} twice in {head}");
    first
}

/// The head with its empty line; `None` when the stream ends before it.
pub fn read_head(stream: &mut impl BufRead) -> Option<String> {
    let mut head = String::new();
    loop {
        let before = head.len();
        match stream.read_line(&mut head) {
            Ok(n) if n > 0 => {}
            _ => return None,
        }
        assert!(head.ends_with("\r\n"), "a line without CRLF: {head:?}");
        if head.len() - before == 2 {
            return Some(head);
        }
    }
}

/// The body that the head announces; `None` when it is cut.
pub fn read_body(stream: &mut impl BufRead, head: &str, until_close: bool) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if field(head, "transfer-encoding").is_some() {
        assert_eq!(field(head, "content-length"), None, "both lengths in {head}");
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
            let size = usize::from_str_radix(line.strip_suffix("\r\n")?, 16).ok()?;
            if size == 0 {
                // The trailer section, and the empty line after it.
                while line != "\r\n" {
                    line.clear();
                    stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
                }
                return Some(body);
            }
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).ok()?;
            assert!(chunk.ends_with(b"\r\n"), "chunk without CRLF");
            body.extend_from_slice(&chunk[..size]);
        }
    }
    if let Some(length) = field(head, "content-length") {
        body.resize(length.parse().expect("a number"), 0);
        stream.read_exact(&mut body).ok()?;
    } else if until_close {
        stream.read_to_end(&mut body).ok()?;
    }
    Some(body)
}
