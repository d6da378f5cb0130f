//! Two tools that speak WebSocket (RFC 6455): a server that answers each message of 128 bytes with itself, and its clients.
//!
//! Goes in: addresses. Comes out: latencies of messages that went there and back, or a number of connections that are held.
//! The key is always the same, so that its answer is known and nothing need be hashed. Does not do: other messages.

use super::lab::{BACKEND, CLIENT_CPUS, Lab, Room};
use super::measure::percentile;
use super::process::{Process, wait_for_port};
use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use serde_json::json;
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Port of the server in the backend's namespace.
pub const PORT: u16 = 8001;

const PAYLOAD_BYTES: usize = 128;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The example of RFC 6455 section 1.3, and what proves that it was understood.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A whole binary message with a length in two bytes; a client's is masked, here by zeros.
const CLIENT_HEAD: [u8; 8] = [0x82, 0x80 | 126, 0, PAYLOAD_BYTES as u8, 0, 0, 0, 0];
const SERVER_HEAD: [u8; 4] = [0x82, 126, 0, PAYLOAD_BYTES as u8];

/// Starts the server and waits until it serves.
pub fn start(lab: &Lab, cpus: &str) -> Result<Process> {
    let command = lab.tool(Room::Backend, cpus, &["echo", &format!("0.0.0.0:{PORT}")])?;
    let mut process = Process::start("echo", command, &lab.dir().join("echo.log"))?;
    wait_for_port(lab, &mut process, BACKEND, PORT)?;
    Ok(process)
}

/// Sends messages one after the other on one connection for so long; median and 99th percentile of their way there and
/// back, µs.
pub fn measure(lab: &Lab, target: &str, host: &str, seconds: u64) -> Result<(f64, f64)> {
    let output = lab.tool(Room::Client, CLIENT_CPUS, &["messages", target, host, &seconds.to_string()])?.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    let value: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let time = |name: &str| value[name].as_f64().with_context(|| format!("no {name}"));
    Ok((time("p50_us")?, time("p99_us")?))
}

/// The tool: `messages TARGET HOST SECONDS`.
pub fn run_messages(target: &str, host: &str, seconds: &str) -> Result<()> {
    let mut stream = open(target.parse()?, host)?;
    let (mut times, start) = (Vec::new(), Instant::now());
    let length = Duration::from_secs(seconds.parse()?);
    while start.elapsed() < length {
        let sent = Instant::now();
        exchange(&mut stream)?;
        times.push(sent.elapsed());
    }
    times.sort_unstable();
    let micros = |part| percentile(&times, part).map(|time: Duration| time.as_secs_f64() * 1e6);
    println!("{}", json!({"messages": times.len(), "p50_us": micros(0.5), "p99_us": micros(0.99)}));
    Ok(())
}

/// The tool: `hold TARGET HOST COUNT` opens so many connections, each with one message, says `ready`, and holds them until its
/// standard input ends.
pub fn run_hold(target: &str, host: &str, count: &str) -> Result<()> {
    let target = target.parse()?;
    let mut held = Vec::new();
    for _ in 0..count.parse::<u64>()? {
        let mut stream = open(target, host)?;
        exchange(&mut stream)?;
        held.push(stream);
    }
    println!("ready");
    // An error of the pipe means its end as well.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    for mut stream in held {
        exchange(&mut stream).context("a connection was lost while it was held")?;
    }
    Ok(())
}

fn open(target: SocketAddr, host: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE).context("cannot connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).context("no answer to the upgrade")?;
        head.extend(byte);
    }
    ensure!(head.starts_with(b"HTTP/1.1 101 "), "not upgraded: {}", String::from_utf8_lossy(&head));
    Ok(stream)
}

/// One message there and back.
fn exchange(stream: &mut TcpStream) -> Result<()> {
    let message = [CLIENT_HEAD.as_slice(), &[b'm'; PAYLOAD_BYTES]].concat();
    stream.write_all(&message)?;
    let mut answer = [0; SERVER_HEAD.len() + PAYLOAD_BYTES];
    stream.read_exact(&mut answer).context("no answer to a message")?;
    ensure!(answer.starts_with(&SERVER_HEAD) && answer.ends_with(&[b'm'; PAYLOAD_BYTES]), "not what was sent");
    Ok(())
}

/// The tool: `echo ADDRESS` serves until it is ended.
pub fn run_server(address: &str) -> Result<()> {
    const LISTENER: u64 = u64::MAX;
    let listener = TcpListener::bind(address)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let (mut peers, mut next): (HashMap<u64, Peer>, u64) = (HashMap::new(), 0);
    let mut events = Vec::with_capacity(256);
    loop {
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for messages"),
        }
        for event in events.drain(..) {
            let number = event.data.u64();
            if number == LISTENER {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                epoll::add(&poll, &stream, epoll::EventData::new_u64(next), epoll::EventFlags::IN)?;
                peers.insert(next, Peer { stream, upgraded: false, input: Vec::new() });
                next += 1;
            } else if peers.get_mut(&number).is_some_and(|peer| peer.serve().is_err()) {
                // Dropping the stream takes it out of the poll.
                peers.remove(&number);
            }
        }
    }
}

struct Peer {
    stream: TcpStream,
    upgraded: bool,
    input: Vec<u8>,
}

impl Peer {
    /// Answers what has come; an error is the connection's end.
    fn serve(&mut self) -> Result<()> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => bail!("closed"),
            Ok(read) => self.input.extend(chunk.iter().take(read)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if !self.upgraded {
            let Some(end) = self.input.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(()) };
            self.input.drain(..end + 4);
            self.upgraded = true;
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
            );
            self.stream.write_all(answer.as_bytes())?;
        }
        while let Some(answer) = take_message(&mut self.input)? {
            self.stream.write_all(&answer)?;
        }
        Ok(())
    }
}

/// Takes a client's message from the front, if it is there as a whole, and makes the server's of it.
pub fn take_message(input: &mut Vec<u8>) -> Result<Option<Vec<u8>>> {
    let Some((message, _)) = input.split_at_checked(CLIENT_HEAD.len() + PAYLOAD_BYTES) else { return Ok(None) };
    let (head, payload) = message.split_at(CLIENT_HEAD.len());
    let (start, mask) = head.split_at(4);
    ensure!(CLIENT_HEAD.starts_with(start), "another message than the clients here send");
    let clear = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    let answer = SERVER_HEAD.iter().copied().chain(clear).collect();
    input.drain(..CLIENT_HEAD.len() + PAYLOAD_BYTES);
    Ok(Some(answer))
}
