//! A backend on threads of its own, and what it has seen.

use super::client::{field, read_body, read_head};
use super::ok;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as a backend saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).expect("a target")
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

/// A backend on threads of its own.
pub struct Backend {
    pub address: SocketAddr,
    /// The requests it has read, in order.
    pub seen: Arc<Mutex<Vec<Seen>>>,
    /// The connections it has accepted.
    pub connections: Arc<Mutex<usize>>,
}

impl Backend {
    /// Gives each connection to `serve`, with its number from 0.
    pub fn raw(serve: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("address");
        let (connections, serve) = (Arc::new(Mutex::new(0)), Arc::new(serve));
        let count = connections.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = {
                    let mut count = count.lock().expect("lock");
                    *count += 1;
                    *count - 1
                };
                let _ = stream.set_nodelay(true);
                let serve = serve.clone();
                std::thread::spawn(move || serve(stream, number));
            }
        });
        Self { address, seen: Arc::default(), connections }
    }

    /// Answers each request with the bytes that `answer` makes of it, and keeps the connection.
    pub fn http(answer: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let log = seen.clone();
        let backend = Self::raw(move |stream, _| {
            let mut stream = BufReader::new(stream);
            while let Some(head) = read_head(&mut stream) {
                let Some(body) = read_body(&mut stream, &head, false) else { return };
                let request = Seen { head, body };
                let response = answer(&request);
                log.lock().expect("lock").push(request);
                if stream.get_mut().write_all(&response).is_err() {
                    return;
                }
            }
        });
        Self { seen, ..backend }
    }

    /// Answers with the target of the request.
    pub fn echo() -> Self {
        Self::http(|seen| ok(seen.path().as_bytes()))
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().expect("lock")
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("lock").clone()
    }
}
