//! What is sent and read over a pair, and compared.
//!
//! Goes in: streams. Comes out: nothing; what differs panics.

use super::SOON;
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Reads exactly these bytes.
pub fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).expect("bytes come");
    assert!(read == bytes, "{:?} came", String::from_utf8_lossy(&read));
}

/// Reads the end of a stream: no byte, and a FIN.
pub fn expect_end(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 16]).expect("an end, not an error"), 0);
}

/// Reads that a stream was reset.
pub fn expect_reset(stream: &mut TcpStream) {
    let error = stream.read(&mut [0; 16]).expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// Bounds every read, so that a test that waits in vain fails.
pub(super) fn bound_waiting(streams: &[&TcpStream]) {
    for stream in streams {
        stream.set_read_timeout(Some(SOON)).expect("an option of a socket");
        stream.set_nodelay(true).expect("an option of a socket");
    }
}

/// Sends bytes that nobody else sends by this number, from one stream to another, and compares each.
pub fn transfer(mut from: &TcpStream, mut to: &TcpStream, number: u64, bytes: u64) {
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut block = vec![0; 64 * 1024];
            for at in (0..bytes).step_by(block.len()) {
                let length = block.len().min((bytes - at) as usize);
                fill(&mut block[..length], number, at);
                from.write_all(&block[..length]).expect("sent");
            }
        });
        let (mut block, mut wanted) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        for at in (0..bytes).step_by(block.len()) {
            let length = block.len().min((bytes - at) as usize);
            to.read_exact(&mut block[..length]).unwrap_or_else(|e| panic!("after {at} of {bytes} bytes: {e}"));
            fill(&mut wanted[..length], number, at);
            assert!(block[..length] == wanted[..length], "other bytes came after {at}");
        }
    });
}

/// Bytes by their place in a stream: a mixed count (splitmix64), so that no two places look alike.
fn fill(block: &mut [u8], number: u64, at: u64) {
    for (word, bytes) in (at / 8..).zip(block.chunks_mut(8)) {
        let mut mixed = (word ^ number << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^= mixed >> 27;
        bytes.copy_from_slice(&mixed.to_ne_bytes()[..bytes.len()]);
    }
}
