//! Requests of HTTP/2 on their way to backends of HTTP/1.1: what would be another request there is refused here.
//!
//! The table is `tests/data/downgrade`; backends, and what they must have seen, are those of [`super`]. Every row has a
//! connection of its own: some of them end it.

use super::table::{self, End, Row, Step, Want};
use super::witness::{self, NAMES, Witnesses, line};
use super::{OWN_TYPE, compare, malformed_for};
use anyhow::{Context, Result, bail, ensure};
use lb_tests::agent::Setup;
use lb_tests::client::Connection;
use lb_tests::frames::{Wire, block, flag, frame, kind};
use lb_tests::lab::{HTTP, Lab};
use lb_tests::scratch::Scratch;
use std::path::Path;

#[test]
fn no_request_of_http2_becomes_another() {
    let (lab, manifests) = (Lab::new(), Scratch::new());
    manifests.write("backends.yaml", Witnesses::manifests());
    let witnesses = Witnesses::start(&lab);
    let agent = Setup::default().steering("off").workers(1).start(&lab, manifests.path());
    let runs = std::thread::scope(|scope| {
        let runs = NAMES.map(|name| (name, scope.spawn(|| Run::new(&lab, name).whole_table())));
        runs.map(|(name, run)| (name, run.join().expect("a run counts faults and does not panic")))
    });
    let mut faults = Vec::new();
    for (name, run) in runs {
        faults.extend(run.faults);
        let seen: Vec<_> = witnesses.seen(name).into_iter().filter(|line| !run.optional.contains(line)).collect();
        faults.extend(compare(name, &run.expected, &seen));
        let log = witnesses.log(name);
        let malformed = malformed_for(&log);
        if malformed.len() > run.refused {
            faults.push(format!("{name} refused requests that are not in the table: {malformed:#?}"));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    agent.stop();
}

/// The table against one backend.
struct Run<'a> {
    lab: &'a Lab,
    backend: &'static str,
    host: &'static str,
    expected: Vec<String>,
    /// What it may have seen.
    optional: Vec<String>,
    faults: Vec<String>,
    refused: usize,
}

/// What came of a stream.
#[derive(Debug)]
enum Outcome {
    /// A backend's response to what it saw.
    Seen(String),
    /// A backend's refusal.
    Backend(u16),
    /// A response of the load balancer.
    Own(u16),
    /// The stream or the connection ended.
    Reset,
}

impl<'a> Run<'a> {
    fn new(lab: &'a Lab, backend: &'static str) -> Self {
        let (expected, optional, faults) = (Vec::new(), Vec::new(), Vec::new());
        Self { lab, backend, host: witness::host(backend), expected, optional, faults, refused: 0 }
    }

    fn whole_table(mut self) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/downgrade");
        let rows = table::read(&directory, "h2", self.host);
        assert!(rows.len() >= 150, "{} rows", rows.len());
        let mut other = Connection::plain(&self.lab.client, HTTP).expect("the load balancer listens");
        for row in &rows {
            if let Err(error) = self.row(row) {
                self.faults.push(format!("{} {} ({}): {error:#}", self.backend, row.name, row.cite));
            }
            let want = line("GET", &format!("/marker/{}", row.name), self.host, b"");
            let answer = other.get(self.host, &format!("/marker/{}", row.name));
            self.expected.push(want.clone());
            if answer.as_ref().ok().and_then(|answer| answer.header("x-saw")) != Some(&want) {
                self.faults.push(format!("{} {}: the next client got {answer:?}", self.backend, row.name));
                other = Connection::plain(&self.lab.client, HTTP).expect("the load balancer listens");
            }
        }
        self
    }

    fn row(&mut self, row: &Row) -> Result<()> {
        let mut wire = Wire::open(&self.lab.client, HTTP, &[])?;
        // It fails when we end the connection at the first of its frames: what came of it shows below.
        let _ = wire.send(&request(row));
        if row.end == End::Pending {
            wire.finish_sending()?;
        }
        let outcome = outcome(&mut wire)?;
        if row.end == End::Pending {
            ensure!(matches!(outcome, Outcome::Reset), "{outcome:?}, and the request was not whole");
            return Ok(());
        }
        let [want] = row.want.as_slice() else { bail!("a row of HTTP/2 wants one thing") };
        match (want, outcome) {
            (Want::See { method, target, host, body }, Outcome::Seen(saw)) => {
                let want = line(method, target, host, body);
                self.expected.push(want.clone());
                ensure!(saw == want, "the backend saw {saw}, and should: {want}");
            }
            (Want::See { method, target, host, body }, Outcome::Reset) if row.may_reset => {
                self.optional.push(line(method, target, host, body));
            }
            (Want::See { .. }, Outcome::Backend(400 | 405 | 501))
                if row.may_refuse.iter().any(|name| name == self.backend) =>
            {
                self.refused += 1;
            }
            (Want::See { .. }, outcome) if row.or_refused => ensure!(is_refusal(&outcome), "{outcome:?}"),
            (Want::Refused, outcome) => ensure!(is_refusal(&outcome), "{outcome:?}, and should be refused"),
            (want, outcome) => bail!("{outcome:?}, and should: {want:?}"),
        }
        Ok(())
    }
}

fn is_refusal(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Reset | Outcome::Own(400..=499 | 501))
}

/// The frames of a row: the head, its content, its trailers. The last one ends the stream, unless the row is not whole.
fn request(row: &Row) -> Vec<u8> {
    let (mut fields, mut trailers, mut frames) = (Vec::new(), Vec::new(), Vec::new());
    for step in &row.steps {
        match step {
            Step::Field(name, value) => fields.push((name.as_slice(), value.as_slice())),
            Step::Trailer(name, value) => trailers.push((name.as_slice(), value.as_slice())),
            Step::Data(bytes) => frames.push((kind::DATA, bytes.clone())),
            Step::Send(_) | Step::Pause(_) => panic!("{}: this row is of HTTP/1.1", row.name),
        }
    }
    frames.insert(0, (kind::HEADERS, block(&fields)));
    if !trailers.is_empty() {
        frames.push((kind::HEADERS, block(&trailers)));
    }
    let last = frames.len() - 1;
    let mut bytes = Vec::new();
    for (index, (kind, payload)) in frames.into_iter().enumerate() {
        let end = if index == last && row.end != End::Pending { flag::END_STREAM } else { 0 };
        bytes.extend(pieces(kind, end, &payload));
    }
    bytes
}

/// A frame, with CONTINUATION frames where its field block is too large for one.
fn pieces(kind: u8, end: u8, payload: &[u8]) -> Vec<u8> {
    if kind == kind::DATA {
        return frame(kind, end, 1, payload);
    }
    let chunks: Vec<&[u8]> = if payload.is_empty() { vec![payload] } else { payload.chunks(16_384).collect() };
    let last = chunks.len() - 1;
    let piece = |(index, chunk): (usize, &&[u8])| {
        let kind = if index == 0 { kind } else { kind::CONTINUATION };
        let flags = if index == 0 { end } else { 0 } | if index == last { flag::END_HEADERS } else { 0 };
        frame(kind, flags, 1, chunk)
    };
    chunks.iter().enumerate().flat_map(piece).collect()
}

fn outcome(wire: &mut Wire) -> Result<Outcome> {
    let mut answer = None;
    loop {
        let Some(frame) = wire.frame().with_context(|| format!("after the head {answer:?}"))? else {
            return Ok(Outcome::Reset);
        };
        if matches!(frame.kind, kind::RST_STREAM | kind::GOAWAY) && frame.code() != Some(0) {
            return Ok(Outcome::Reset);
        }
        if frame.kind == kind::HEADERS && answer.is_none() {
            let status = frame.field(":status").and_then(|status| status.parse::<u16>().ok()).context("no status")?;
            if status >= 200 {
                answer = Some(match frame.field("x-saw") {
                    Some(saw) => Outcome::Seen(saw.to_owned()),
                    // The h2 library answers too large heads itself; everything else of us has a Server.
                    None if frame.field("server").is_none() => Outcome::Own(status),
                    None if frame.field("content-type") == Some(OWN_TYPE) => Outcome::Own(status),
                    None => Outcome::Backend(status),
                });
            }
        }
        if let Some(answer) = answer.take_if(|_| frame.ends_stream()) {
            return Ok(answer);
        }
    }
}
