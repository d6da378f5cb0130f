//! What clients of HTTP/2 do to harm: each attack from one connection, while another client is served and our memory is
//! watched.
//!
//! An attack is a beginning and a wave of frames that is sent over and over, until we end the connection or so many waves were
//! sent. What must hold: it ends as wanted, at most 16 MB are held for it, few of its requests reach a backend, and the other
//! client's requests are answered.

use super::row::{data, get, get_path, more_data, post, reset, text_block, window};
use super::{HTTP, Lab, Setup, Site, Wire, flag, frame, kind, settings_frame};
use anyhow::{Result, ensure};
use lb_tests::agent::Agent;
use lb_tests::client::Connection;
use lb_tests::frames::block;
use lb_tests::site::HOST;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a connection may make us hold, bytes.
const HELD_MAX: u64 = 16 << 20;

/// Longest that the other client may wait for an answer: far above what an idle machine takes, far below a stall.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long a client tries to write when we no longer read.
const PATIENCE: Duration = Duration::from_secs(2);

/// Requests of an attack that may reach a backend: what the limits on resets let through, and streams that are open.
const REACHING_MAX: u64 = 1_200;

/// An attack.
struct Attack {
    name: &'static str,
    cite: &'static str,
    /// SETTINGS of the client.
    settings: &'static [(u16, u32)],
    begin: Vec<u8>,
    /// What a wave sends; it is given its number from 0.
    wave: Box<dyn Fn(u32) -> Vec<u8>>,
    waves: u32,
    /// The client reads what comes.
    reads: bool,
    end: End,
}

/// How it must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// We end the connection before all waves were sent.
    Cut,
    /// The connection lives on, and holds little.
    Held,
    /// As we please.
    Either,
}

#[test]
fn one_connection_harms_nobody() {
    let site = Site::new();
    let agent = Setup::default().steering("off").start(&site.lab, site.manifests.path());
    warm_up(&site.lab);
    let mut faults = Vec::new();
    for attack in attacks() {
        let before = site.backends.requests();
        if let Err(error) = try_attack(&site.lab, &agent, &attack, || site.backends.requests() - before) {
            faults.push(format!("{} ({}): {error:#}", attack.name, attack.cite));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    agent.stop();
}

fn attacks() -> Vec<Attack> {
    let mut all = floods();
    all.extend(resets());
    all.extend(hoarding());
    all
}

fn cut(name: &'static str, cite: &'static str, begin: Vec<u8>, wave: impl Fn(u32) -> Vec<u8> + 'static) -> Attack {
    Attack { name, cite, settings: &[], begin, wave: Box::new(wave), waves: 2_000, reads: true, end: End::Cut }
}

/// Frames that cost their sender nothing: hundreds of them in a wave.
fn floods() -> Vec<Attack> {
    let many = |one: Vec<u8>| move |_| one.repeat(200);
    let unread = |attack: Attack| Attack { reads: false, ..attack };
    let ping = || frame(kind::PING, 0, 0, b"12345678");
    let begun = || frame(kind::HEADERS, flag::END_STREAM, 1, b"");
    let small = block(&[(b"x-a", &[b'a'; 1_000])]);
    vec![
        cut("ping-flood", "CVE-2019-9512", Vec::new(), many(ping())),
        unread(cut("ping-flood-unread", "CVE-2019-9512", Vec::new(), many(ping()))),
        cut("settings-flood", "CVE-2019-9515", Vec::new(), many(settings_frame(&[(3, 1)]))),
        unread(cut("settings-flood-unread", "CVE-2019-9515", Vec::new(), many(settings_frame(&[(3, 1)])))),
        cut("empty-settings-flood", "CVE-2019-9515", Vec::new(), many(settings_frame(&[]))),
        cut("empty-data-flood", "CVE-2019-9518", post(1), many(more_data(1, b""))),
        cut("padding-flood", "CVE-2019-9518", post(1), many(frame(kind::DATA, flag::PADDED, 1, b"\x01\0"))),
        cut("priority-flood", "CVE-2019-9513", Vec::new(), many(frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1]))),
        cut("window-flood", "RFC 9113 10.5", Vec::new(), many(window(0, 1))),
        cut("unknown-flood", "RFC 9113 10.5", Vec::new(), many(frame(0x16, 0, 0, b""))),
        cut("continuation-flood", "CVE-2024-24549, CVE-2024-28182", begun(), move |_| {
            frame(kind::CONTINUATION, 0, 1, &small).repeat(16)
        }),
        cut("continuation-flood-large", "CVE-2023-45288", begun(), |_| {
            frame(kind::CONTINUATION, 0, 1, &block(&[(b"x-a", &[b'a'; 16_000])]))
        }),
        cut("continuation-flood-empty", "CVE-2019-9518", begun(), many(frame(kind::CONTINUATION, 0, 1, b""))),
    ]
}

/// Requests that are begun and taken back.
fn resets() -> Vec<Attack> {
    let each = |one: fn(u32) -> Vec<u8>| move |wave: u32| (0..50).flat_map(|n| one(2 * (50 * wave + n) + 1)).collect();
    vec![
        cut("rapid-reset", "CVE-2023-44487", Vec::new(), each(|stream| [get(stream), reset(stream, 8)].concat())),
        cut(
            "rapid-reset-of-post",
            "CVE-2023-44487",
            Vec::new(),
            each(|stream| [post(stream), reset(stream, 8)].concat()),
        ),
        cut(
            "made-you-reset-by-window-0",
            "CVE-2025-8671",
            Vec::new(),
            each(|stream| [get_path(stream, "/delay/500"), window(stream, 0)].concat()),
        ),
        cut(
            "made-you-reset-by-window-overflow",
            "CVE-2025-8671",
            Vec::new(),
            each(|stream| [get_path(stream, "/delay/500"), window(stream, 0x7fff_ffff)].concat()),
        ),
        cut(
            "made-you-reset-by-late-data",
            "CVE-2025-8671",
            Vec::new(),
            each(|stream| [get_path(stream, "/delay/500"), data(stream, b"a")].concat()),
        ),
        cut(
            "made-you-reset-by-priority-size",
            "CVE-2025-8671",
            Vec::new(),
            each(|stream| [get_path(stream, "/delay/500"), frame(kind::PRIORITY, 0, stream, b"abcd")].concat()),
        ),
        cut(
            "made-you-reset-by-length",
            "CVE-2025-8671",
            Vec::new(),
            each(|stream| {
                let more = text_block(&[("content-length", "1")]);
                let block = [lb_tests::frames::request("POST", "/", HOST), more].concat();
                [frame(kind::HEADERS, flag::END_HEADERS, stream, &block), data(stream, b"abc")].concat()
            }),
        ),
    ]
}

/// What is small on the wire and large for us.
fn hoarding() -> Vec<Attack> {
    let held = |attack: Attack| Attack { end: End::Held, ..attack };
    let waves = |waves, attack: Attack| Attack { waves, ..attack };
    let streams = |path: &'static str| (0..100).flat_map(|n| get_path(2 * n + 1, path)).collect::<Vec<u8>>();
    let nothing = |_| Vec::new();
    vec![
        Attack {
            settings: &[(4, 0)],
            ..held(waves(1, cut("zero-window", "CVE-2019-9517", streams("/bytes/300000"), nothing)))
        },
        Attack {
            settings: &[(4, 0x7fff_ffff)],
            ..held(waves(1, cut("window-of-connection", "CVE-2019-9511", streams("/bytes/300000"), nothing)))
        },
        Attack {
            settings: &[(4, 0x7fff_ffff)],
            reads: false,
            ..held(waves(
                1,
                cut(
                    "unread-answers",
                    "CVE-2019-9517",
                    [window(0, 0x7000_0000), streams("/bytes/300000")].concat(),
                    nothing,
                ),
            ))
        },
        held(waves(
            100,
            cut("unfinished-posts", "slow bodies", Vec::new(), |wave| {
                [post(2 * wave + 1), more_data(2 * wave + 1, &[b'a'; 600])].concat()
            }),
        )),
        Attack { end: End::Either, ..waves(100, cut("hpack-bomb", "CVE-2016-6581", Vec::new(), bomb)) },
        held(waves(
            100,
            cut("cookie-bomb", "RFC 9113 10.5.1", Vec::new(), |wave| {
                let crumbs = block(&vec![(&b"cookie"[..], &b"a"[..]); 1_500]);
                let block = [lb_tests::frames::request("GET", "/", HOST), crumbs].concat();
                frame(kind::HEADERS, flag::WHOLE, 2 * wave + 1, &block)
            }),
        )),
    ]
}

/// One entry of 4,000 bytes in the table, named 10,000 times by one byte each: 40 MB of fields in 10 KB.
fn bomb(wave: u32) -> Vec<u8> {
    let mut fields = lb_tests::frames::request("GET", "/", HOST);
    if wave == 0 {
        // Literal with indexing, name "x", value of 127 + 3,873 bytes.
        fields.extend_from_slice(b"\x40\x01x\x7f\xa1\x1e");
        fields.extend_from_slice(&[b'b'; 4_000]);
    }
    fields.extend_from_slice(&[0xbe; 10_000]);
    frame(kind::HEADERS, flag::WHOLE, 2 * wave + 1, &fields)
}

fn try_attack(lab: &Lab, agent: &Agent, attack: &Attack, reached: impl Fn() -> u64) -> Result<()> {
    let before = agent.resident_bytes();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| slowest_answer(lab, &over));
        let held = scope.spawn(|| most_memory(agent, &over));
        let was_cut = run(lab, attack);
        over.store(true, Ordering::SeqCst);
        let slowest = other.join().expect("the other client reports its faults");
        let held = held.join().expect("reading a file does not panic").saturating_sub(before);
        let (was_cut, (slowest, served)) = (was_cut?, slowest?);
        let reached = reached() - served;
        println!("{}: cut {was_cut}, {held} bytes held, {reached} requests, slowest {slowest:?}", attack.name);
        ensure!(
            attack.end == End::Either || was_cut == (attack.end == End::Cut),
            "the connection was cut: {was_cut}, wanted: {:?}",
            attack.end
        );
        ensure!(held <= HELD_MAX, "{held} bytes were held");
        ensure!(reached <= REACHING_MAX, "{reached} requests reached a backend");
        ensure!(slowest <= ANSWER_MAX, "another client waited {slowest:?}");
        Ok(())
    })
}

/// Carries out an attack; answers whether the connection was ended meanwhile.
fn run(lab: &Lab, attack: &Attack) -> Result<bool> {
    let mut wire = Wire::open(&lab.client, HTTP, attack.settings)?;
    wire.set_patience(PATIENCE)?;
    if wire.send(&attack.begin).is_err() {
        return Ok(true);
    }
    for wave in 0..attack.waves {
        // A write that fails: the connection is gone, or we no longer read, which bounds what is held as well.
        if wire.send(&(attack.wave)(wave)).is_err() {
            return Ok(true);
        }
        if attack.reads && wire.arrived()?.iter().any(|frame| frame.kind == kind::GOAWAY) {
            return Ok(true);
        }
    }
    // What has arrived is all that comes when this takes as long as our patience.
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if attack.reads && wire.arrived()?.iter().any(|frame| frame.kind == kind::GOAWAY) {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(false)
}

/// Asks until the attack is over; answers the longest wait and how many answers there were.
fn slowest_answer(lab: &Lab, over: &AtomicBool) -> Result<(Duration, u64)> {
    let (mut slowest, mut answers) = (Duration::ZERO, 0);
    while !over.load(Ordering::SeqCst) || answers == 0 {
        // A new connection each time: either worker must be able to accept one.
        let start = Instant::now();
        let answer = Connection::plain(&lab.client, HTTP)?.get(HOST, "/other")?;
        ensure!(answer.status == 200, "another client got {}", answer.status);
        slowest = slowest.max(start.elapsed());
        answers += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok((slowest, answers))
}

fn most_memory(agent: &Agent, over: &AtomicBool) -> u64 {
    let mut most = 0;
    while !over.load(Ordering::SeqCst) {
        most = most.max(agent.resident_bytes());
        std::thread::sleep(Duration::from_millis(2));
    }
    most
}

/// Makes the agent take the memory that it keeps for good: code, buffers of both workers.
fn warm_up(lab: &Lab) {
    for _ in 0..20 {
        let mut wire = Wire::open(&lab.client, HTTP, &[]).expect("the load balancer listens");
        wire.send(&get(1)).expect("sent");
        wire.until(|frame| frame.ends_stream()).expect("answered");
    }
}
