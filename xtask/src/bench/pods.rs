//! Endpoints that come and go like pods, in the backend's namespace: each a listener with an address of its own.
//!
//! Goes in: addresses, one after the other. Comes out: answers of 36 bytes while a [`Pod`] lives. When it is dropped, its listener and
//! all its connections are closed at once, whatever was asked on them: the worst that a pod without a `preStop` hook does.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Port of every pod.
pub const PORT: u16 = 8000;

/// Network of the pods: all its addresses are the backend's own (`ip route add local`).
pub const NETWORK: &str = "10.78.0.0/16";

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 36\r\nContent-Type: text/plain\r\n\r\n....................................";

/// A pod that runs.
pub struct Pod {
    /// Its address.
    pub address: Ipv4Addr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

/// The address of a pod by its number, up to 65,000.
pub fn address(number: usize) -> Ipv4Addr {
    let [high, low] = ((number + 1) as u16).to_be_bytes();
    Ipv4Addr::new(10, 78, high, low)
}

impl Pod {
    /// Listens.
    pub fn start(address: Ipv4Addr) -> Result<Self> {
        let listener = TcpListener::bind((address, PORT)).with_context(|| format!("cannot listen on {address}"))?;
        let shared = Arc::<Shared>::default();
        let accepting = shared.clone();
        let thread = thread::spawn(move || accepting.accept(&listener));
        Ok(Self { address, shared, thread: Some(thread) })
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        self.shared.cut();
        // Wakes the thread that accepts; when that fails the listener is closed already.
        drop(TcpStream::connect(SocketAddr::from((self.address, PORT))));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("  the thread of pod {} has panicked", self.address);
        }
        self.shared.cut();
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.over.load(Ordering::Acquire) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let Ok(second) = stream.try_clone() else { continue };
            self.connections.lock().unwrap_or_else(PoisonError::into_inner).push(second);
            thread::spawn(move || serve(stream));
        }
    }

    /// Ends all connections at once.
    fn cut(&self) {
        for stream in self.connections.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // One that its peer has closed is over already.
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Answers every head that ends with an empty line; requests have no bodies.
fn serve(mut stream: TcpStream) {
    // Without it answers are the same, later.
    let _slower = stream.set_nodelay(true);
    let (mut buffer, mut seen) = ([0; 4096], Vec::<u8>::new());
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        seen.extend(buffer.iter().copied().take(read));
        while let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            seen.drain(..end + 4);
            if stream.write_all(ANSWER).is_err() {
                return;
            }
        }
    }
}
