//! HTTP/2 (RFC 9113): connections of clients and to endpoints, each stream as one exchange. The protocol is `h2`'s work.
//!
//! Goes in: connections that speak HTTP/2. Comes out: for each stream the same that HTTP/1.1 gives to
//! [`super::exchange`]: a head, a body to read, a body to write. Owns the bounds of what a connection may make us hold.

pub mod client;
pub mod connection;
pub mod meter;
pub mod stream;

use h2::server;

/// Receive window of a connection, bytes: what all its streams together may send ahead of us. 1 MB keeps 100 Mbit/s going
/// over a round trip of 80 ms.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// Receive window of a stream, bytes.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// What a stream may have waiting to be sent, bytes, besides our own buffers: one full frame and a half.
const SEND_BUFFER_BYTES: usize = 24 * 1024;

/// Streams that the client reset and that are remembered, or that it reset before we looked at them (rapid reset,
/// CVE-2023-44487): a page that is left resets as many as it had open.
const RESETS_HELD_MAX: usize = 200;

/// Streams that the client made us reset by breaking the protocol (CVE-2025-8671), in the life of a connection.
const LOCAL_RESETS_MAX: usize = 256;

/// The dynamic table of HPACK that clients may use, bytes (RFC 9113 section 6.5.2: the default).
const HEADER_TABLE_BYTES: u32 = 4096;

/// How servers talk to clients. `head_bytes_max` is what a head may take when it is decoded.
fn server_builder(streams_max: u32, head_bytes_max: usize) -> server::Builder {
    let mut builder = server::Builder::new();
    builder
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .max_concurrent_streams(streams_max)
        .max_header_list_size(u32::try_from(head_bytes_max).unwrap_or(u32::MAX))
        .header_table_size(HEADER_TABLE_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(RESETS_HELD_MAX)
        .max_pending_accept_reset_streams(RESETS_HELD_MAX)
        .max_local_error_reset_streams(Some(LOCAL_RESETS_MAX));
    builder.enable_connect_protocol();
    builder
}

/// How we talk to endpoints. Nobody may push.
fn client_builder() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .enable_push(false);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::proxy::buffer::INPUT_BYTES;
    use crate::proxy::flow::JOINED_BYTES_MAX;

    #[test]
    fn a_connection_holds_at_most_16_mb() {
        let limits = Limits::default();
        // Of a stream: its head, both input buffers, a joined piece of output, and what h2 has to send.
        let stream = limits.head_bytes_max + 2 * INPUT_BYTES + JOINED_BYTES_MAX + SEND_BUFFER_BYTES;
        let all = CONNECTION_WINDOW_BYTES as usize + limits.streams_max as usize * stream;
        assert!(all <= 16 << 20, "{all}");
    }
}
