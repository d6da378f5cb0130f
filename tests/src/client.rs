//! A small HTTP/1.1 client over one connection, plain or TLS, that shows everything it got and can send raw bytes.
//!
//! Goes in: a namespace to connect from. Comes out: [`Response`]s. Does not follow redirects, pool or retry: tests want to
//! see each of these happen. It accepts any certificate and hands it out for comparison.

use crate::echo::Echo;
use crate::netns::Namespace;
use anyhow::{Context, Result, bail, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// How long an answer may take: far above the slowest path of the echo backend.
const READ_MAX: Duration = Duration::from_secs(15);

/// Header fields that a response may have.
const FIELDS_MAX: usize = 100;

/// What came back.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Minor version of HTTP/1.
    pub minor_version: u8,
    /// Header fields in their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
}

impl Response {
    /// The first value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What the echo backend says it saw. Panics with the whole response when no echo backend answered.
    #[must_use]
    pub fn echo(&self) -> Echo {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not the answer of an echo backend ({error}): {self:?}\n{}", self.text()))
    }
}

/// One connection to the load balancer.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    received: Vec<u8>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    /// Connects without TLS.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn plain(from: &Namespace, to: SocketAddr) -> Result<Self> {
        let stream = from.connect(to).with_context(|| format!("connect to {to} from {}", from.name()))?;
        stream.set_read_timeout(Some(READ_MAX))?;
        Ok(Self { stream: Stream::Plain(stream), received: Vec::new() })
    }

    /// Connects with TLS and finishes the handshake. `None` sends no server name.
    ///
    /// # Errors
    /// When nobody listens or the handshake fails.
    pub fn tls(from: &Namespace, to: SocketAddr, server_name: Option<&str>) -> Result<Self> {
        let mut stream = from.connect(to).with_context(|| format!("connect to {to} from {}", from.name()))?;
        stream.set_read_timeout(Some(READ_MAX))?;
        let mut config = config()?;
        config.enable_sni = server_name.is_some();
        let name = ServerName::try_from(server_name.unwrap_or("unnamed.invalid").to_owned())?;
        let mut session = ClientConnection::new(Arc::new(config), name)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream).context("TLS handshake")?;
        }
        Ok(Self { stream: Stream::Tls(Box::new(StreamOwned::new(session, stream))), received: Vec::new() })
    }

    /// The certificate that the server showed, DER. `None` on a plain connection.
    #[must_use]
    pub fn certificate(&self) -> Option<Vec<u8>> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => tls.conn.peer_certificates()?.first().map(|c| c.as_ref().to_vec()),
        }
    }

    /// Sends a request without a body, and reads the answer. The connection stays open if both sides want it to.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not HTTP/1.
    pub fn get(&mut self, host: &str, target: &str) -> Result<Response> {
        self.request("GET", host, target, &[], b"")
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not HTTP/1.
    pub fn request(
        &mut self,
        method: &str,
        host: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        self.send(&head(method, host, target, headers, body))?;
        if !body.is_empty() {
            self.send(body)?;
        }
        self.read_response(method == "HEAD").with_context(|| format!("{method} http://{host}{target}"))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes)?,
            Stream::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush())?,
        }
        Ok(())
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn finish_sending(&mut self) -> Result<()> {
        let tcp = match &mut self.stream {
            Stream::Plain(stream) => &*stream,
            Stream::Tls(tls) => {
                tls.conn.send_close_notify();
                tls.flush()?;
                &tls.sock
            }
        };
        Ok(tcp.shutdown(std::net::Shutdown::Write)?)
    }

    /// Reads one response; `headless` for the answer to HEAD, which has no body. Interim responses are skipped.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not HTTP/1.
    pub fn read_response(&mut self, bodiless: bool) -> Result<Response> {
        loop {
            let mut response = self.read_head()?;
            if (100..200).contains(&response.status) && response.status != 101 {
                continue;
            }
            if !bodiless && !matches!(response.status, 101 | 204 | 304) {
                response.body = self.read_body(&response)?;
            }
            return Ok(response);
        }
    }

    /// Whether the server closed the connection (in order, or with a reset). Waits for it up to the read timeout.
    ///
    /// # Errors
    /// When the server sends something, or keeps the connection open.
    pub fn expect_close(&mut self) -> Result<()> {
        ensure!(self.received.is_empty(), "bytes before the close: {:?}", String::from_utf8_lossy(&self.received));
        match self.fill() {
            Ok(0) => Ok(()),
            Ok(_) => bail!("bytes before the close: {:?}", String::from_utf8_lossy(&self.received)),
            Err(error) if is_reset(&error) => Ok(()),
            Err(error) => Err(error).context("the connection stayed open"),
        }
    }

    /// Whether the server left the connection open for at least the given time, and sent nothing.
    ///
    /// # Errors
    /// When the timeout cannot be set.
    pub fn is_open_after(&mut self, wait: Duration) -> Result<bool> {
        self.set_read_timeout(wait)?;
        let quiet = matches!(self.fill(), Err(error) if is_timeout(&error));
        self.set_read_timeout(READ_MAX)?;
        Ok(quiet)
    }

    /// Reads the head of a response, and leaves the body for later.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not HTTP/1.
    pub fn read_head(&mut self) -> Result<Response> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
            let mut head = httparse::Response::new(&mut fields);
            if let httparse::Status::Complete(length) = head.parse(&self.received)? {
                let headers = head
                    .headers
                    .iter()
                    .map(|h| (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).into_owned()));
                let response = Response {
                    status: head.code.unwrap_or_default(),
                    minor_version: head.version.unwrap_or_default(),
                    headers: headers.collect(),
                    body: Vec::new(),
                };
                self.received.drain(..length);
                return Ok(response);
            }
            ensure!(self.fill()? > 0, "closed before the end of a response head: {:?}", self.received_text());
        }
    }

    /// Reads the body that belongs to a head.
    ///
    /// # Errors
    /// When the connection breaks or the framing is wrong.
    pub fn read_body(&mut self, head: &Response) -> Result<Vec<u8>> {
        if head.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            return self.read_chunks();
        }
        if let Some(length) = head.header("content-length") {
            let length = length.parse().context("Content-Length")?;
            return self.take(length);
        }
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.received))
    }

    fn read_chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.take_line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).with_context(|| format!("chunk size {line:?}"))?;
            if size == 0 {
                while !self.take_line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            ensure!(self.take_line()?.is_empty(), "no line end after a chunk");
        }
    }

    fn take(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.received.len() < count {
            ensure!(self.fill()? > 0, "closed after {} of {count} body bytes", self.received.len());
        }
        Ok(self.received.drain(..count).collect())
    }

    fn take_line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.received.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            ensure!(self.fill()? > 0, "closed inside a chunked body");
        }
    }

    fn fill(&mut self) -> std::io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let count = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut buffer)?,
            Stream::Tls(tls) => tls.read(&mut buffer)?,
        };
        self.received.extend_from_slice(&buffer[..count]);
        Ok(count)
    }

    fn set_read_timeout(&self, timeout: Duration) -> Result<()> {
        let stream = match &self.stream {
            Stream::Plain(stream) => stream,
            Stream::Tls(tls) => &tls.sock,
        };
        Ok(stream.set_read_timeout(Some(timeout))?)
    }

    fn received_text(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }
}

/// Connects, sends one GET, reads the answer. Panics when that does not work: for tests that are about the answer.
#[must_use]
pub fn get(from: &Namespace, to: SocketAddr, host: &str, target: &str) -> Response {
    Connection::plain(from, to)
        .and_then(|mut connection| connection.get(host, target))
        .unwrap_or_else(|error| panic!("GET http://{host}{target} at {to}: {error:#}"))
}

fn head(method: &str, host: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn is_reset(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// How clients do TLS: any certificate is good, and tests compare what came.
///
/// # Errors
/// When the library has no protocol version that it holds safe.
pub fn config() -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyCertificate(provider.signature_verification_algorithms));
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// Takes any certificate, but still checks that the server holds its key.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
