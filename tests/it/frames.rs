//! HTTP/2 by the letter: a table of conformance (RFC 9113 sections 3.4 to 8, RFC 7541), and what clients do to harm.
//!
//! Frames are made by hand (`lb_tests::frames`): no library of HTTP/2 would send most of them. A row of the table is what a
//! client sends on a connection of its own and what must come of it; where the connection lives on, it must work as before.

mod abuse;
mod fields;
mod framing;
mod hpack;
mod row;
mod settings;
mod states;

use anyhow::{Context, Result, bail, ensure};
use lb_tests::agent::Setup;
use lb_tests::frames::{Frame, PREFACE, Wire, flag, frame, kind, settings as settings_frame};
use lb_tests::lab::{HTTP, Lab};
use lb_tests::site::Site;
use row::{PROTOCOL, Row, Step, Want, get};

/// The stream of the request that follows a row: above all that rows use.
const AFTER: u32 = 1_001;

#[test]
fn frames_states_and_fields_are_those_of_the_rfc() {
    let site = Site::new();
    let agent = Setup::default().steering("off").start(&site.lab, site.manifests.path());
    let rows: Vec<Row> = [framing::rows(), states::rows(), settings::rows(), fields::rows(), hpack::rows()].concat();
    assert!(rows.len() >= 120, "{} rows", rows.len());
    let mut faults = Vec::new();
    for row in &rows {
        if let Err(error) = check(&site.lab, row) {
            faults.push(format!("{} ({}): {error:#}", row.name, row.cite));
        }
    }
    assert!(faults.is_empty(), "{} of {} rows:\n{}", faults.len(), rows.len(), faults.join("\n"));
    agent.stop();
}

fn check(lab: &Lab, row: &Row) -> Result<()> {
    let mut wire = if row.hello { Wire::open(&lab.client, HTTP, &[])? } else { Wire::connect(&lab.client, HTTP)? };
    for step in &row.steps {
        match step {
            // It fails when the connection was ended at an earlier frame: what came of that shows below.
            Step::Send(bytes) => drop(wire.send(bytes)),
            Step::Trickle(bytes) => bytes.iter().try_for_each(|byte| wire.send(&[*byte]))?,
            Step::Await(stream) => {
                wire.until(|frame| frame.stream == *stream && frame.ends_stream()).context("the first answer")?;
            }
        }
    }
    match &row.want {
        Want::Closed => return wire.until_end(),
        Want::Connection(codes) => return connection_error(&mut wire, codes),
        Want::Alive => {}
        Want::Status(stream, status) => {
            let head = wire.until(|frame| frame.stream == *stream && frame.kind == kind::HEADERS)?;
            ensure!(head.field(":status") == Some(&status.to_string()), "{head:?}");
        }
        Want::Frame(what, wanted) => drop(wire.until(wanted).with_context(|| format!("no {what}"))?),
        Want::Stream(stream, codes) => {
            let fault = wire.until(|frame| is_fault(frame, *stream))?;
            ensure!(fault.code().is_some_and(|code| is_one_of(code, codes)), "{codes:?} wanted: {fault:?}");
            if fault.kind == kind::GOAWAY {
                return wire.until_closed();
            }
        }
        Want::Malformed(stream) => {
            let answered = |frame: &Frame| frame.stream == *stream && frame.kind == kind::HEADERS;
            let fault = wire.until(|frame| is_fault(frame, *stream) || answered(frame))?;
            match (fault.code(), fault.field(":status")) {
                (Some(1), _) if fault.kind == kind::GOAWAY => return wire.until_closed(),
                (Some(1), _) => {}
                (None, Some(status)) if status.starts_with('4') || status == "501" => {}
                _ => bail!("a malformed request came to {fault:?}"),
            }
        }
    }
    works(&mut wire).context("afterwards")
}

/// RST_STREAM of a stream, or GOAWAY with an error.
fn is_fault(frame: &Frame, stream: u32) -> bool {
    match frame.kind {
        kind::RST_STREAM => frame.stream == stream,
        kind::GOAWAY => frame.code() != Some(0),
        _ => false,
    }
}

fn connection_error(wire: &mut Wire, codes: &[u32]) -> Result<()> {
    let fault = wire.until(|frame| frame.kind == kind::GOAWAY)?;
    ensure!(fault.code().is_some_and(|code| is_one_of(code, codes)), "{codes:?} wanted: {fault:?}");
    wire.until_closed()
}

/// PROTOCOL_ERROR stands for any other code: h2 0.4 names no more specific one for sizes of frames, compression and most
/// late frames. What protects is that the stream or the connection ends.
fn is_one_of(code: u32, codes: &[u32]) -> bool {
    code == PROTOCOL || codes.contains(&code)
}

/// The connection answers a PING and a request.
fn works(wire: &mut Wire) -> Result<()> {
    wire.send(&[frame(kind::PING, 0, 0, b"afterall"), get(AFTER)].concat())?;
    let (mut ping, mut answer) = (false, false);
    while !(ping && answer) {
        let frame = wire.frame()?.context("the connection was closed")?;
        ensure!(frame.kind != kind::GOAWAY, "{frame:?}");
        ping |= frame.kind == kind::PING && frame.flags & flag::ACK != 0 && frame.payload == b"afterall";
        answer |= frame.stream == AFTER && frame.field(":status") == Some("200");
    }
    Ok(())
}

/// Preface and SETTINGS, for rows that do without the usual beginning.
fn hello() -> Vec<u8> {
    [PREFACE, &settings_frame(&[])].concat()
}
