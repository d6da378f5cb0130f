//! A client of HTTP/1.1 for the bench's own tools: one kept connection, GET only, answers with Content-Length.
//!
//! Goes in: an address and the bytes of a request. Comes out: status and body. Does not do: chunked answers, TLS.

use anyhow::{Context, Result, bail, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most bytes of an answer: a body of 10 MiB and a head.
const ANSWER_BYTES_MAX: usize = (10 << 20) + 64 * 1024;

/// One connection, opened when needed.
pub struct Client {
    target: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
}

/// The tool: an error unless one GET is answered with 200 and a body of this size.
pub fn fetch(target: &str, host: &str, path: &str, bytes: &str) -> Result<()> {
    let answer = Client::new(target.parse()?).exchange(&request_path(host, path))?;
    let due: usize = bytes.parse()?;
    let (status, found) = (answer.status, answer.body.len());
    ensure!(status == 200 && found == due, "status {status} with {found} bytes where 200 with {due} is due");
    Ok(())
}

/// The tool: an error unless one GET is answered with this status.
pub fn fetch_status(target: &str, host: &str, path: &str, status: &str) -> Result<()> {
    let found = Client::new(target.parse()?).exchange(&request_path(host, path))?.status;
    ensure!(found == status.parse::<u16>()?, "status {found} where {status} is due");
    Ok(())
}

/// The tool: prints the body of a GET.
pub fn scrape(address: &str, path: &str) -> Result<()> {
    let answer = Client::new(address.parse()?).exchange(&request_path("localhost", path))?;
    ensure!(answer.status == 200, "status {}", answer.status);
    std::io::stdout().write_all(&answer.body)?;
    Ok(())
}

/// The bytes of `GET /` for a host.
pub fn request(host: &str) -> Vec<u8> {
    request_path(host, "/")
}

/// The bytes of a GET for a host.
pub fn request_path(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

impl Client {
    /// A client of an address; no connection yet.
    pub fn new(target: SocketAddr) -> Self {
        Self { target, stream: None, buffer: Vec::new() }
    }

    /// Opens the connection if there is none.
    pub fn connect(&mut self) -> Result<()> {
        if self.stream.is_none() {
            let stream = TcpStream::connect_timeout(&self.target, PATIENCE).context("cannot connect")?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// Closes the connection.
    pub fn close(&mut self) {
        self.stream = None;
        self.buffer.clear();
    }

    /// Sends a request and reads its answer. After an error the next exchange opens a new connection.
    pub fn exchange(&mut self, request: &[u8]) -> Result<Response> {
        let result = self.connect().and_then(|()| self.try_exchange(request));
        if result.is_err() {
            self.close();
        }
        result
    }

    fn try_exchange(&mut self, request: &[u8]) -> Result<Response> {
        let stream = self.stream.as_mut().context("no connection")?;
        stream.write_all(request).context("cannot send")?;
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some((response, used, close)) = parse(&self.buffer)? {
                self.buffer.drain(..used);
                if close {
                    self.close();
                }
                return Ok(response);
            }
            ensure!(self.buffer.len() <= ANSWER_BYTES_MAX, "the answer is too large");
            let read = stream.read(&mut chunk).context("cannot read")?;
            if read == 0 {
                bail!("the connection ended after {} bytes of an answer", self.buffer.len());
            }
            self.buffer.extend(chunk.iter().take(read));
        }
    }
}

/// Reads an answer from the front of `bytes`: it, the bytes it took, and whether the connection ends with it. Nothing
/// when bytes are missing.
pub fn parse(bytes: &[u8]) -> Result<Option<(Response, usize, bool)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let (head, rest) = bytes.split_at(end + 4);
    let head = std::str::from_utf8(head).context("the head is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).context("no status")?;
    let field = |name: &str| {
        let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    };
    let length: usize = field("content-length").and_then(|value| value.parse().ok()).context("no Content-Length")?;
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let close = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some((Response { status, body: body.to_vec() }, end + 4 + length, close)))
}
