//! Request smuggling (RFC 9112 section 11, and what proxies got wrong before): each payload of a table goes through us to four
//! different backends, and every one of them must see the same requests: those of a strict reading, or none.
//!
//! After each payload a request of another client must get its own answer: nothing may be left behind in a connection to
//! a backend. What the backends saw is compared as a whole at the end, so that a request nobody asked for shows too.

mod downgrade;
mod table;
mod witness;

use anyhow::{Context, Result, ensure};
use lb_tests::agent::Setup;
use lb_tests::client::{Connection, Response};
use lb_tests::lab::{HTTP, Lab};
use lb_tests::scratch::Scratch;
use std::path::Path;
use std::time::{Duration, Instant};
use table::{End, Row, Step, Want};
use witness::{NAMES, Witnesses, line};

/// The whole table must be done in this time: it is part of every change's checks.
const TIME_MAX: Duration = Duration::from_secs(120);

/// The table is run twice: each payload as few writes, and then byte by byte, for readers that forget where they were.
const PASSES: [Pass; 2] = [Pass { name: "whole", bytes_max: usize::MAX }, Pass { name: "split", bytes_max: 1 }];

/// A longer payload is not split: each byte is a packet.
const SPLIT_BYTES_MAX: usize = 2_000;

/// The type of the load balancer's own answers; no backend here uses it.
const OWN_TYPE: &str = "text/plain; charset=utf-8";

/// Faults that are printed.
const FAULTS_SHOWN: usize = 40;

#[test]
fn no_payload_is_understood_in_two_ways() {
    let (lab, manifests) = (Lab::new(), Scratch::new());
    manifests.write("backends.yaml", Witnesses::manifests());
    let witnesses = Witnesses::start(&lab);
    // One worker: whatever is left in a connection to a backend is met by the next request to it.
    let agent = Setup::default().steering("off").workers(1).start(&lab, manifests.path());
    let start = Instant::now();
    let runs = std::thread::scope(|scope| {
        let runs = NAMES.map(|name| (name, scope.spawn(|| Run::new(&lab, name).whole_table())));
        runs.map(|(name, run)| (name, run.join().expect("a run counts faults and does not panic")))
    });
    let mut faults = Vec::new();
    for (name, run) in runs {
        faults.extend(run.faults);
        faults.extend(compare(name, &run.expected, &witnesses.seen(name)));
        let log = witnesses.log(name);
        let malformed = malformed_for(&log);
        if malformed.len() > run.refused {
            faults.push(format!("{name} refused requests that are not in the table: {malformed:#?}"));
        }
    }
    let shown = faults[..faults.len().min(FAULTS_SHOWN)].join("\n");
    assert!(faults.is_empty(), "{} faults:\n{shown}", faults.len());
    assert!(start.elapsed() < TIME_MAX, "the table took {:?}", start.elapsed());
    agent.stop();
}

/// One run through the table.
struct Pass {
    name: &'static str,
    /// Most bytes of one write.
    bytes_max: usize,
}

/// The table against one backend.
struct Run<'a> {
    lab: &'a Lab,
    backend: &'static str,
    host: &'static str,
    /// What the backend must have seen at the end.
    expected: Vec<String>,
    faults: Vec<String>,
    /// Requests that the backend refused in its own name, as it may.
    refused: usize,
}

impl<'a> Run<'a> {
    fn new(lab: &'a Lab, backend: &'static str) -> Self {
        Self { lab, backend, host: witness::host(backend), expected: Vec::new(), faults: Vec::new(), refused: 0 }
    }

    fn whole_table(mut self) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/smuggling");
        let mut other = Connection::plain(&self.lab.client, HTTP).expect("the load balancer listens");
        for pass in &PASSES {
            let rows = table::read(&directory, pass.name, self.host);
            assert!(rows.len() >= 300, "{} rows", rows.len());
            for row in rows.iter().filter(|row| pass.takes(row)) {
                let place = format!("{} {} {} ({})", self.backend, pass.name, row.name, row.cite);
                if let Err(error) = self.row(row, pass) {
                    self.faults.push(format!("{place}: {error:#}"));
                }
                if let Err(error) = self.marker(&mut other, &format!("/marker/{}/{}", pass.name, row.name)) {
                    self.faults.push(format!("{place}: the next client: {error:#}"));
                    other = Connection::plain(&self.lab.client, HTTP).expect("the load balancer listens");
                }
            }
        }
        self
    }

    /// A request of another client gets its own answer.
    fn marker(&mut self, other: &mut Connection, target: &str) -> Result<()> {
        let want = line("GET", target, self.host, b"");
        self.expected.push(want.clone());
        check(&other.get(self.host, target)?, &want)
    }

    /// Sends a payload, and reads all that comes of it.
    fn row(&mut self, row: &Row, pass: &Pass) -> Result<()> {
        let may_be_refused = row.may_refuse.iter().any(|name| name == self.backend);
        let mut connection = Connection::plain(&self.lab.client, HTTP)?;
        for step in &row.steps {
            match step {
                Step::Send(bytes) => {
                    for piece in bytes.chunks(pass.bytes_max) {
                        // It fails when we have refused and closed: what was answered shows below.
                        let _ = connection.send(piece);
                    }
                }
                Step::Pause(time) => std::thread::sleep(*time),
                Step::Field(..) | Step::Data(_) | Step::Trailer(..) => anyhow::bail!("this row is of HTTP/2"),
            }
        }
        for (index, want) in row.want.iter().enumerate() {
            let context = || format!("answer {}", index + 1);
            match want {
                Want::Answer(status) => {
                    let response = connection.read_response(false).with_context(context)?;
                    let own = response.header("content-type") == Some(OWN_TYPE);
                    ensure!(response.status == *status && own, "not refused with {status}: {response:?}");
                }
                Want::Refused => anyhow::bail!("a row of HTTP/1.1 names the status"),
                Want::See { method, target, host, body } => {
                    let response = connection.read_response(method == "HEAD").with_context(context)?;
                    let refused = matches!(response.status, 400 | 405 | 501) && response.header("x-saw").is_none();
                    if may_be_refused && refused {
                        self.refused += 1;
                        continue;
                    }
                    let want = line(method, target, host, body);
                    self.expected.push(want.clone());
                    check(&response, &want).with_context(context)?;
                }
            }
        }
        self.end(row, &mut connection)
    }

    fn end(&mut self, row: &Row, connection: &mut Connection) -> Result<()> {
        match row.end {
            End::Closed => {}
            End::Pending => connection.finish_sending()?,
            End::Open => {
                let target = format!("/end/{}", row.name);
                let want = line("GET", &target, self.host, b"");
                let response = connection.request("GET", self.host, &target, &[("Connection", "close")], b"");
                let response = response.context("the last request of the connection")?;
                self.expected.push(want.clone());
                check(&response, &want)?;
            }
        }
        connection.expect_close()
    }
}

impl Pass {
    fn takes(&self, row: &Row) -> bool {
        let length = |step: &Step| if let Step::Send(bytes) = step { bytes.len() } else { SPLIT_BYTES_MAX };
        self.bytes_max > 1 || !row.whole && row.steps.iter().map(length).sum::<usize>() < SPLIT_BYTES_MAX
    }
}

/// The answer is a backend's, to this request.
fn check(response: &Response, want: &str) -> Result<()> {
    let saw = response.header("x-saw");
    ensure!(response.status == 200, "answered {} ({}), and should: {want}", response.status, response.text().trim());
    ensure!(saw == Some(want), "the backend saw {saw:?}, and should: {want}");
    Ok(())
}

/// Faults for what a backend saw and should not, and the other way round; then for their order.
fn compare(name: &str, expected: &[String], seen: &[String]) -> Vec<String> {
    let without = |all: &[String], some: &[String]| {
        let mut left: Vec<&String> = some.iter().collect();
        left.sort_unstable();
        let is_left = |line: &&String| match left.binary_search(line) {
            Ok(at) => left.remove(at) != *line,
            Err(_) => true,
        };
        all.iter().filter(is_left).cloned().collect::<Vec<_>>()
    };
    let extra = without(seen, expected).into_iter().map(|line| format!("{name} saw what it should not: {line}"));
    let missing = without(expected, seen).into_iter().map(|line| format!("{name} did not see: {line}"));
    let mut faults: Vec<String> = extra.chain(missing).collect();
    if faults.is_empty() && expected != seen {
        faults.push(format!("{name} saw all it should in another order"));
    }
    faults
}

/// Requests that nginx or HAProxy took for malformed, by their logs. An unfinished body is one for nginx, and the table has
/// such rows; their request line could be read.
fn malformed_for(log: &str) -> Vec<&str> {
    let unread = |line: &&str| line.contains("<BADREQ>") || (line.starts_with("400 ") && !line.contains(" HTTP/1.1\""));
    log.lines().filter(unread).collect()
}
