//! The tables of hostile requests as values: `tests/data/smuggling/*.txt` (HTTP/1.1) and `tests/data/downgrade/*.txt` (HTTP/2).
//!
//! A row of a file:
//!
//! ```text
//! = NAME                          unique; {id} below stands for /PASS/NAME, {host} for the host of a backend
//! : where it comes from           RFC section or CVE
//! < see METHOD TARGET [BODY]      the backend sees this request, and the client gets its answer
//! < answer STATUS                 the load balancer answers itself, and keeps the connection
//! < refuse STATUS                 it answers itself and closes; nothing of the rest is read as a request
//! < then closed                   the connection is closed after the last answer
//! < pending                       no answer: the message is not whole
//! < see-host HOST                 the Host that the next request is seen with, when not {host}
//! < whole                         not sent byte by byte: what comes of it depends on what has arrived
//! < may-refuse BACKEND            this backend may refuse the request in its own name, and close
//! | a line                        sent with CRLF
//! > bytes                         sent without
//! ~ 50                            a pause, milliseconds
//!
//! of HTTP/2:
//! < refused                       no backend sees anything: the stream or the connection ends, or 4xx or 501 answers
//! < or-refused                    that may also be, instead of what is seen
//! < may-reset                     the client's stream may end, whether or not the backend saw the request
//! h NAME => VALUE                 a field of the head, pseudo-fields too
//! d bytes                         a DATA frame
//! t NAME => VALUE                 a field of the trailers
//! ```
//!
//! In bytes, `\r \n \t \0 \\ \xHH` are what they are elsewhere, and `{a*9}` is nine times `a`. Does no I/O but reading the
//! files.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

/// A hostile request and how it must be understood.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub cite: String,
    /// What must come of it, in order.
    pub want: Vec<Want>,
    /// How the connection ends.
    pub end: End,
    /// All of it may be refused, too.
    pub or_refused: bool,
    /// The client's stream may end, although a backend saw the request.
    pub may_reset: bool,
    /// It is not sent byte by byte.
    pub whole: bool,
    /// Backends that may refuse it.
    pub may_refuse: Vec<String>,
    /// What is sent.
    pub steps: Vec<Step>,
}

/// One request of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// The backend sees it.
    See {
        /// Method.
        method: String,
        /// Target.
        target: String,
        /// Host field.
        host: String,
        /// Content.
        body: Vec<u8>,
    },
    /// The load balancer answers.
    Answer(u16),
    /// Nobody sees it.
    Refused,
}

/// What becomes of the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It takes another request.
    Open,
    /// It is closed.
    Closed,
    /// It waits for more.
    Pending,
}

/// One thing that the client does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Sends.
    Send(Vec<u8>),
    /// Waits.
    Pause(Duration),
    /// A field of a head of HTTP/2.
    Field(Vec<u8>, Vec<u8>),
    /// A DATA frame.
    Data(Vec<u8>),
    /// A field of trailers of HTTP/2.
    Trailer(Vec<u8>, Vec<u8>),
}

/// All rows of the directory for one backend; `pass` tells one run through the table from another. Panics where a file
/// is wrong.
pub fn read(directory: &Path, pass: &str, host: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut paths: Vec<_> = std::fs::read_dir(directory).expect("the table is there").flatten().collect();
    paths.sort_by_key(std::fs::DirEntry::path);
    for entry in paths {
        let path = entry.path();
        let text = std::fs::read_to_string(&path).expect("the table can be read");
        rows.extend(parse(&text, pass, host).unwrap_or_else(|fault| panic!("{}: {fault}", path.display())));
    }
    let mut names = HashSet::new();
    for row in &rows {
        assert!(names.insert(row.name.clone()), "two rows are named {}", row.name);
    }
    rows
}

/// The rows of one file.
fn parse(text: &str, pass: &str, host: &str) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    let mut seen_host = None;
    for (number, line) in text.lines().enumerate() {
        let fault = |what: &str| format!("line {}: {what}: {line}", number + 1);
        let (mark, rest) = line.split_at(line.len().min(1));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        if mark == "=" {
            let (want, steps, may_refuse) = (Vec::new(), Vec::new(), Vec::new());
            let (name, cite, end) = (rest.to_owned(), String::new(), End::Open);
            rows.push(Row {
                name,
                cite,
                want,
                end,
                or_refused: false,
                may_reset: false,
                whole: false,
                may_refuse,
                steps,
            });
            continue;
        }
        if mark.is_empty() || mark == "#" {
            continue;
        }
        let row = rows.last_mut().ok_or_else(|| fault("before the first row"))?;
        let fill = |text: &str| bytes(&text.replace("{id}", &format!("/{pass}/{}", row.name)).replace("{host}", host));
        match mark {
            ":" => rest.clone_into(&mut row.cite),
            "|" => send(&mut row.steps, &[fill(rest)?, b"\r\n".to_vec()].concat()),
            ">" => send(&mut row.steps, &fill(rest)?),
            "d" => row.steps.push(Step::Data(fill(rest)?)),
            "h" | "t" => {
                let (name, value) = rest.split_once(" =>").ok_or_else(|| fault("no =>"))?;
                let (name, value) = (fill(name)?, fill(value.strip_prefix(' ').unwrap_or(value))?);
                let step = if mark == "h" { Step::Field(name, value) } else { Step::Trailer(name, value) };
                row.steps.push(step);
            }
            "~" => {
                let ms = rest.parse().map_err(|_| fault("not a number"))?;
                row.steps.push(Step::Pause(Duration::from_millis(ms)));
            }
            "<" => {
                let words = String::from_utf8(fill(rest)?).map_err(|_| fault("not text"))?;
                want(row, &words, host, &mut seen_host).ok_or_else(|| fault("not understood"))?;
            }
            _ => return Err(fault("not understood")),
        }
    }
    Ok(rows)
}

fn want(row: &mut Row, words: &str, host: &str, seen_host: &mut Option<String>) -> Option<()> {
    let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
    match verb {
        "see" => {
            let mut parts = rest.splitn(3, ' ').map(str::to_owned);
            let (method, target) = (parts.next()?, parts.next()?);
            let body = parts.next().unwrap_or_default().into_bytes();
            let host = seen_host.take().unwrap_or_else(|| host.to_owned());
            row.want.push(Want::See { method, target, host, body });
        }
        "see-host" => *seen_host = Some(rest.to_owned()),
        "answer" => row.want.push(Want::Answer(rest.parse().ok()?)),
        "refuse" => {
            row.want.push(Want::Answer(rest.parse().ok()?));
            row.end = End::Closed;
        }
        "then" if rest == "closed" => row.end = End::Closed,
        "refused" => row.want.push(Want::Refused),
        "or-refused" => row.or_refused = true,
        "may-reset" => row.may_reset = true,
        "whole" => row.whole = true,
        "pending" => row.end = End::Pending,
        "may-refuse" => row.may_refuse.push(rest.to_owned()),
        _ => return None,
    }
    Some(())
}

/// Joins what is sent without a pause into one piece, as a client that means harm would.
fn send(steps: &mut Vec<Step>, more: &[u8]) {
    match steps.last_mut() {
        Some(Step::Send(bytes)) => bytes.extend_from_slice(more),
        _ => steps.push(Step::Send(more.to_vec())),
    }
}

/// The bytes that a text of the table stands for.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some((repeated, after)) = repetition(rest) {
            let (what, count) = repeated?;
            out.extend(bytes(what)?.repeat(count));
            rest = after;
        } else if next == '\\' {
            let (byte, length) = escape(rest).ok_or_else(|| format!("not an escape: {rest}"))?;
            out.push(byte);
            rest = &rest[length..];
        } else {
            let length = next.len_utf8();
            out.extend_from_slice(&rest.as_bytes()[..length]);
            rest = &rest[length..];
        }
    }
    Ok(out)
}

/// What is repeated, and how often; or why that cannot be read.
type Repeated<'t> = Result<(&'t str, usize), String>;

/// `{WHAT*COUNT}` at the start of a text, and what follows it.
fn repetition(text: &str) -> Option<(Repeated<'_>, &str)> {
    let (inside, after) = text.strip_prefix('{')?.split_once('}')?;
    let (what, count) = inside.rsplit_once('*')?;
    let count = count.parse().map_err(|_| format!("not a number: {inside}"));
    Some((count.map(|count| (what, count)), after))
}

/// The byte of an escape and the length of its text.
fn escape(text: &str) -> Option<(u8, usize)> {
    let simple = match text.as_bytes().get(1)? {
        b'r' => b'\r',
        b'n' => b'\n',
        b't' => b'\t',
        b'0' => 0,
        b'\\' => b'\\',
        b'x' => return Some((u8::from_str_radix(text.get(2..4)?, 16).ok()?, 4)),
        _ => return None,
    };
    Some((simple, 2))
}

#[test]
fn a_row_is_read_as_it_is_written() {
    let text = "# A comment.\n\n= one\n: RFC\n< see POST {id} a b\n< refuse 400\n| POST {id} HTTP/1.1\n> {ab*2}\\x41\\0\n~ 5\n|\n";
    let rows = parse(text, "s", "h").expect("well formed");
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    let see = Want::See { method: "POST".into(), target: "/s/one".into(), host: "h".into(), body: b"a b".to_vec() };
    assert_eq!((row.name.as_str(), row.end, &row.want), ("one", End::Closed, &vec![see, Want::Answer(400)]));
    let first = Step::Send(b"POST /s/one HTTP/1.1\r\nababA\0".to_vec());
    assert_eq!(row.steps, [first, Step::Pause(Duration::from_millis(5)), Step::Send(b"\r\n".to_vec())]);
}
