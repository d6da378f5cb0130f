//! Where the fields of a head are written to: lines of HTTP/1.1, or the map of an HTTP/2 head. One code decides which
//! fields pass; this is the only difference.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Takes fields, in order.
pub trait FieldSink {
    /// Takes one field.
    fn field(&mut self, name: &str, value: &[u8]);

    /// Takes field lines that were written before, each with its CRLF.
    fn lines(&mut self, lines: &[u8]);

    /// Takes `Content-Length`.
    fn length(&mut self, size: u64) {
        self.field("Content-Length", itoa::Buffer::new().format(size).as_bytes());
    }
}

impl FieldSink for Vec<u8> {
    fn field(&mut self, name: &str, value: &[u8]) {
        self.extend_from_slice(name.as_bytes());
        self.extend_from_slice(b": ");
        self.extend_from_slice(value);
        self.extend_from_slice(b"\r\n");
    }

    fn lines(&mut self, lines: &[u8]) {
        self.extend_from_slice(lines);
    }
}

impl FieldSink for HeaderMap {
    /// A value that HTTP/2 cannot carry is left out: heads that were read have none.
    fn field(&mut self, name: &str, value: &[u8]) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
            self.append(name, value);
        }
    }

    fn lines(&mut self, lines: &[u8]) {
        for line in lines.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let (name, value) = line.split_at(colon);
            let Ok(name) = std::str::from_utf8(name) else { continue };
            self.field(name, value.get(1..).unwrap_or_default().trim_ascii());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sinks_take_the_same() {
        let (mut lines, mut map) = (Vec::new(), HeaderMap::new());
        for sink in [&mut lines as &mut dyn FieldSink, &mut map] {
            sink.field("Host", b"a.b");
            sink.lines(b"X-One: 1\r\nX-Two: a:b\r\n");
            sink.length(7);
        }
        assert_eq!(lines, b"Host: a.b\r\nX-One: 1\r\nX-Two: a:b\r\nContent-Length: 7\r\n");
        let got: Vec<_> = map.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let want: [(&str, &[u8]); 4] = [("host", b"a.b"), ("x-one", b"1"), ("x-two", b"a:b"), ("content-length", b"7")];
        assert_eq!(got, want);
    }
}
