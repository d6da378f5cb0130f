//! Compression of fields: RFC 7541. Blocks are literal bytes.

use super::row::{COMPRESSION, Row, Want, row, text_block};
use lb_tests::frames::{flag, frame, kind, settings};
use lb_tests::site::HOST;

const BROKEN: Want = Want::Connection(&[COMPRESSION]);

pub fn rows() -> Vec<Row> {
    [indexes(), integers(), strings(), table(), table_of_requests()].concat()
}

/// A good request, and then these bytes in the same block.
fn block(more: &[u8]) -> Vec<u8> {
    headers(1, &[&request(), more].concat())
}

fn headers(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flag::WHOLE, stream, block)
}

fn request() -> Vec<u8> {
    text_block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", HOST)])
}

fn bad(name: &'static str, cite: &'static str, more: &[u8]) -> Row {
    row(name, cite, &[block(more)], BROKEN)
}

fn good(name: &'static str, cite: &'static str, more: &[u8]) -> Row {
    row(name, cite, &[block(more)], Want::Status(1, 200))
}

fn indexes() -> Vec<Row> {
    vec![
        bad("index-0", "RFC 7541 6.1", b"\x80"),
        bad("index-of-empty-table", "RFC 7541 2.3.3", b"\xbe"),
        bad("index-70", "RFC 7541 2.3.3", b"\xc6"),
        bad("index-huge", "RFC 7541 2.3.3", b"\xff\x80\x80\x01"),
        bad("name-index-of-empty-table", "RFC 7541 6.2.1", b"\x7e\x01a"),
        bad("name-index-beyond-never", "RFC 7541 6.2.3", b"\x1f\x30\x01a"),
        bad("name-index-beyond-without", "RFC 7541 6.2.2", b"\x0f\x30\x01a"),
        good("index-of-static-table", "RFC 7541 6.1", b"\x90"),
        good("name-index", "RFC 7541 6.2.2", b"\x0f\x04\x03gif"),
    ]
}

fn integers() -> Vec<Row> {
    vec![
        bad("integer-cut", "RFC 7541 5.1", b"\xff"),
        bad("integer-cut-later", "RFC 7541 5.1", b"\xff\x80\x80"),
        bad("integer-too-large", "RFC 7541 5.1", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
        bad("length-too-large", "RFC 7541 5.1", b"\x00\x7f\xff\xff\xff\xff\xff\xff\xff\x7f"),
        bad("length-beyond-block", "RFC 7541 5.2", b"\x00\x05ab"),
        bad("value-beyond-block", "RFC 7541 5.2", b"\x00\x01a\x05b"),
        bad("value-missing", "RFC 7541 5.2", b"\x00\x01a"),
        bad("name-missing", "RFC 7541 5.2", b"\x00"),
        bad("length-beyond-frame", "RFC 7541 5.2", b"\x00\x01a\x7f\xff\xff\x03"),
    ]
}

fn strings() -> Vec<Row> {
    vec![
        // "a" is 00011 and "0" 00000 in the code of RFC 7541 appendix B; padding is ones.
        good("huffman", "RFC 7541 5.2", b"\x00\x03x-a\x81\x1f"),
        good("huffman-name", "RFC 7541 5.2", b"\x00\x81\x1f\x01b"),
        good("huffman-empty", "RFC 7541 5.2", b"\x00\x03x-a\x80"),
        bad("huffman-padding-zeros", "RFC 7541 5.2", b"\x00\x03x-a\x81\x18"),
        bad("huffman-padding-mixed", "RFC 7541 5.2", b"\x00\x03x-a\x81\x1e"),
        bad("huffman-padding-too-long", "RFC 7541 5.2", b"\x00\x03x-a\x82\x1f\xff"),
        bad("huffman-only-padding", "RFC 7541 5.2", b"\x00\x03x-a\x81\xff"),
        bad("huffman-end-of-string", "RFC 7541 5.2", b"\x00\x03x-a\x84\xff\xff\xff\xff"),
        bad("huffman-end-after-text", "RFC 7541 5.2", b"\x00\x03x-a\x85\x1f\xff\xff\xff\xff"),
        bad("huffman-name-broken", "RFC 7541 5.2", b"\x00\x82\x1f\xff\x01b"),
    ]
}

fn table() -> Vec<Row> {
    let sized =
        |name, cite, updates: &[u8], want| row(name, cite, &[headers(1, &[updates, &request()].concat())], want);
    vec![
        sized("update-0", "RFC 7541 6.3", b"\x20", Want::Status(1, 200)),
        sized("update-to-the-limit", "RFC 7541 6.3", b"\x3f\xe1\x1f", Want::Status(1, 200)),
        sized("update-beyond", "RFC 7541 6.3", b"\x3f\xe2\x1f", BROKEN),
        sized("update-huge", "RFC 7541 6.3", b"\x3f\xff\xff\xff\xff\x07", BROKEN),
        sized("update-twice", "RFC 7541 4.2", b"\x20\x3f\xe1\x1f", Want::Status(1, 200)),
        sized("update-cut", "RFC 7541 6.3", b"\x3f", BROKEN),
        bad("update-at-the-end", "RFC 7541 4.2", b"\x20"),
        bad("update-between", "RFC 7541 4.2", b"\x20\x00\x01a\x01b"),
    ]
}

fn table_of_requests() -> Vec<Row> {
    // x-a: b is put into the table, then named by its place there.
    let put = b"\x40\x03x-a\x01b";
    let large = [&b"\x40\x03x-a\x7f\xa1\x1f"[..], &[b'b'; 4_128]].concat();
    let rest = |more: &[u8]| headers(3, &[&request(), more].concat());
    let taken = |name, cite, first: &[u8], second: &[u8], want| row(name, cite, &[block(first), rest(second)], want);
    let update = [&b"\x20"[..], &request(), b"\xbe"].concat();
    vec![
        taken("entry-of-earlier-request", "RFC 7541 2.3.2", put, b"\xbe", Want::Status(3, 200)),
        taken("name-of-earlier-request", "RFC 7541 2.3.2", put, b"\x7e\x01c", Want::Status(3, 200)),
        taken("entry-never-put", "RFC 7541 6.2.3", b"\x10\x03x-a\x01b", b"\xbe", BROKEN),
        taken("entry-without-index", "RFC 7541 6.2.2", b"\x00\x03x-a\x01b", b"\xbe", BROKEN),
        taken("entry-too-large-empties", "RFC 7541 4.4", &[&put[..], &large].concat(), b"\xbe", BROKEN),
        row("update-empties", "RFC 7541 4.3", &[block(put), headers(3, &update)], BROKEN),
        row(
            "table-0-from-client",
            "RFC 7541 4.2",
            &[settings(&[(1, 0)]), block(put), rest(b"\xbe")],
            Want::Status(3, 200),
        ),
    ]
}
