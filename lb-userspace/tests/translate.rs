//! Translation cases as data: each `tests/data/translate/NAME.yaml` is translated, and what comes out is compared with
//! `NAME.expected`.
//!
//! A first line `# settings: key=value …` sets `node`, `zone`, `without_class`, `class_mode`, `body_bytes_max` or `now_s`; `external_names=CIDR,…`
//! allows ExternalName Services, and `answer=NAME=ADDRESS,…` or `failing=NAME=ADDRESS,…` is what is known of a name. Certificates are made for each
//! run: `@@CERT name…@@` and `@@KEY@@` in a manifest stand for a new certificate of these names and its key, in base64
//! (`@@EXPIRED …@@`, `@@FUTURE …@@` for one of another time). `SLUICE_BLESS=1` writes the expectations anew; review them.

use lb_core::Problem;
use lb_core::class::Classified;
use lb_core::model::route::Target;
use lb_core::model::{HostPattern, Policy, Route, Snapshot, Upstream, host};
use lb_userspace::config::{ClassMode, ExternalNames, Objects};
use lb_userspace::control::names::answer::Answer;
use lb_userspace::control::source::manifest;
use lb_userspace::control::store::Store;
use lb_userspace::control::translate::translate;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// 2026-06-01, within the validity of every certificate that is not meant to be of another time.
const NOW_S: i64 = 1_780_272_000;

/// Fewer cases than this means that the data was not found.
const CASES_MIN: usize = 40;

#[test]
fn manifests_translate_as_expected() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/translate");
    let mut cases: Vec<PathBuf> = fs::read_dir(&directory)
        .expect("the data is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    cases.sort();
    assert!(cases.len() >= CASES_MIN, "only {} cases", cases.len());
    let failed: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(failed.is_empty(), "{} cases differ:\n{}", failed.len(), failed.join("\n"));
}

fn check(case: &Path) -> Result<(), String> {
    let text = fs::read_to_string(case).expect("readable");
    let first = text.lines().next().unwrap_or_default();
    let (objects, now_s) = settings(first);
    let name = case.file_name().expect("a file").to_string_lossy();
    let read = manifest::read(&(&*name).into(), with_certificates(&text).as_bytes());
    let mut store = Store::default();
    store.replace_file(&(&*name).into(), read.entries);
    answers(first, &objects, &mut store);
    let (snapshot, problems) = translate(&store, &objects, now_s);
    let got = render(&snapshot, read.problems.iter().chain(&store.problems()).chain(&problems));
    let expected = case.with_extension("expected");
    if std::env::var_os("SLUICE_BLESS").is_some() {
        fs::write(&expected, &got).expect("writable");
        return Ok(());
    }
    let want = fs::read_to_string(&expected).unwrap_or_default();
    if got == want { Ok(()) } else { Err(format!("== {name}\n-- expected\n{want}-- got\n{got}")) }
}

fn settings(line: &str) -> (Objects, i64) {
    let (mut objects, mut now_s) = (Objects::default(), NOW_S);
    for setting in line.strip_prefix("# settings:").unwrap_or_default().split_whitespace() {
        let (key, value) = setting.split_once('=').expect("key=value");
        match key {
            "node" => objects.node = Some(value.to_owned()),
            "zone" => objects.zone = Some(value.to_owned()),
            "without_class" => objects.without_class = value.parse().expect("true or false"),
            "class_mode" => objects.class_mode = if value == "nginx" { ClassMode::Nginx } else { ClassMode::Spec },
            "body_bytes_max" => objects.defaults.body_bytes_max = Some(value.parse().expect("bytes")),
            "external_names" => {
                let deny =
                    value.split(',').filter(|text| !text.is_empty()).map(|text| text.parse().expect("a network"));
                objects.external_names = Some(ExternalNames { deny: deny.collect() });
            }
            "answer" | "failing" => assert!(value.contains('='), "NAME=ADDRESSES"),
            "now_s" => now_s = value.parse().expect("seconds"),
            other => panic!("no setting {other}"),
        }
    }
    (objects, now_s)
}

/// Puts what is known of names into a store.
fn answers(line: &str, objects: &Objects, store: &mut Store) {
    let deny = objects.external_names.as_ref().map_or(&[][..], |names| &names.deny);
    for (key, value) in line.split_whitespace().filter_map(|setting| setting.split_once('=')) {
        let Some((name, addresses)) = value.split_once('=') else { continue };
        let found = addresses.split(',').filter(|text| !text.is_empty()).map(|text| text.parse().expect("an address"));
        let answer = Answer::of(found.collect(), deny);
        store.resolved(
            name,
            if key == "failing" { Answer::failed(Some(&answer), "timed out".to_owned(), NOW_S) } else { answer },
        );
    }
}

/// Replaces the marks for certificates; a key belongs to the certificate before it.
fn with_certificates(text: &str) -> String {
    let mut out = String::new();
    let mut key = String::new();
    for (index, part) in text.split("@@").enumerate() {
        if index % 2 == 0 {
            out.push_str(part);
            continue;
        }
        let mut words = part.split(' ');
        let years = match words.next().expect("a word") {
            "KEY" => {
                out.push_str(&key);
                continue;
            }
            "CERT" => (2026, 2126),
            "EXPIRED" => (2024, 2025),
            "FUTURE" => (2100, 2126),
            other => panic!("no mark {other}"),
        };
        let mut parameters =
            rcgen::CertificateParams::new(words.map(str::to_owned).collect::<Vec<_>>()).expect("valid names");
        parameters.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let pair = rcgen::KeyPair::generate().expect("a key");
        let certificate = parameters.self_signed(&pair).expect("a certificate");
        key = base64(pair.serialize_pem().as_bytes());
        out.push_str(&base64(certificate.pem().as_bytes()));
    }
    out
}

fn render<'a>(snapshot: &Snapshot, problems: impl Iterator<Item = &'a Problem>) -> String {
    let mut out = String::new();
    for (_, route) in snapshot.routes.iter() {
        let to = match &route.target {
            Target::Service(id) => snapshot.service(*id).expect("of this Snapshot").key.to_string(),
            Target::Unavailable(why) => format!("503 ({why})"),
        };
        let _ = writeln!(out, "route {} {} -> {to}{} [{}]", route.host, route.path, filters(route), route.origin);
        out.push_str(&manners(route));
    }
    for service in &snapshot.services {
        let _ = writeln!(out, "service {} note={:?}", service.key, service.note);
        for endpoint in &service.endpoints {
            let draining = if endpoint.terminating { " terminating" } else { "" };
            let _ = writeln!(out, "  endpoint {}{draining}", endpoint.address);
        }
    }
    for (host, certificate) in snapshot.certificates.entries() {
        let _ = writeln!(out, "certificate {host} <- {} {:?}", certificate.source, certificate.names);
    }
    let hosts: BTreeSet<_> = snapshot.routes.iter().map(|(_, route)| &route.host).collect();
    for host in hosts {
        if let Some(auth) = snapshot.client_auth.get(host) {
            let _ = writeln!(out, "client certificate of {host}: {auth}");
        }
    }
    for (host, id) in snapshot.passthrough.entries() {
        let origin = &snapshot.routes.get(id).expect("of this Snapshot").origin;
        let _ = writeln!(out, "TLS of {host} passes through [{origin}]");
    }
    let ends_here = snapshot.routes.iter().filter_map(|(_, route)| {
        let HostPattern::Exact(name) = &route.host else { return None };
        let covered = snapshot.passthrough.get(&HostPattern::Wildcard(host::parent(name)?.into())).is_some();
        (covered && snapshot.passthrough.find(name).is_none()).then_some(name)
    });
    for name in ends_here {
        let _ = writeln!(out, "TLS of {name} ends here");
    }
    for problem in problems {
        let _ = writeln!(out, "{:?} {problem}", problem.severity);
    }
    out
}

fn filters(route: &Route) -> String {
    route.filters.iter().fold(String::new(), |text, filter| {
        format!("{text} | {}", serde_json::to_string(filter).expect("a filter can be shown"))
    })
}

/// How endpoints are spoken to, and limits; nothing where both are the defaults. Classes where the owner spoke of them.
fn manners(route: &Route) -> String {
    let mut out = String::new();
    let shown = |upstream: &Upstream| {
        let tls = upstream.tls.as_ref();
        let name = if tls.is_some_and(|tls| tls.send_name) { ", name sent" } else { "" };
        let own = tls.and_then(|tls| tls.certificate.as_ref()).map(|c| format!(", shows {}", c.source));
        format!("{upstream}{name}{}", own.unwrap_or_default())
    };
    if *route.upstream != Upstream::default() {
        let _ = writeln!(out, "  speaks {}", shown(&route.upstream));
    }
    if let Some(upstream) = &route.upstream_in_clear {
        let _ = writeln!(out, "  speaks {} for clients in the clear", shown(upstream));
    }
    if route.steering.connection {
        let _ = writeln!(out, "  steered as {}, upgrades as {}", shown_class(route.class), shown_class(route.upgrade));
    }
    let value = |policy: &Policy| serde_json::to_value(policy).expect("a policy can be shown");
    let (own, default) = (value(&route.policy), value(&Policy::default()));
    for (name, field) in own.as_object().expect("fields").iter().filter(|(name, field)| default[name] != **field) {
        let _ = writeln!(out, "  {name} {field}");
    }
    out
}

fn shown_class(classified: Classified) -> String {
    format!("{} ({})", classified.class, classified.reason.name())
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let sextet = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() { char::from(sextet) } else { '=' });
        }
    }
    out
}
