//! Rules about who may know whom: rooms of the agent, libraries by room, crates, and the maps that two crates share.

use super::source::{Finding, Source, find_word};

/// Rooms of the agent, none of which imports another.
const ROOMS: [&str; 4] = ["control", "kernel", "proxy", "admin"];

/// Where the agent's sources lie.
const AGENT: &str = "lb-userspace/src/";

/// A library of the agent, and the rooms that may name it.
const LIBRARIES: [(&str, &[&str]); 9] = [
    ("k8s_openapi", &["control"]),
    ("kube", &["control"]),
    ("aya", &["kernel"]),
    ("aya_log", &["kernel"]),
    ("libc", &["kernel"]),
    ("rustls", &["proxy", "control", "admin"]),
    ("tokio_rustls", &["proxy", "admin"]),
    ("hyper", &["proxy", "admin"]),
    ("inotify", &["control"]),
];

/// What makes a decision depend on more than its arguments, so lb-core does without.
const IMPURE: [&str; 11] = [
    "std::net::Tcp",
    "std::net::Udp",
    "TcpStream",
    "std::fs",
    "std::process",
    "std::thread",
    "std::env",
    "Instant::now",
    "SystemTime::now",
    "rand::",
    "tokio",
];

/// A crate of ours, and those of ours that it may depend on.
const ARROWS: [(&str, &[&str]); 7] = [
    ("lb-common", &[]),
    ("lb-ebpf", &["lb-common"]),
    ("lb-core", &["lb-common"]),
    ("lb-userspace", &["lb-core", "lb-common"]),
    ("tests", &["lb-userspace", "lb-core", "lb-common"]),
    ("tests/fuzz", &["lb-userspace", "lb-core", "lb-common"]),
    ("xtask", &[]),
];

/// Where map and program names are constants.
const MAPS: &str = "lb-common/src/maps.rs";

/// The one map that a library of ours defines, not our program.
const LIBRARY_MAP: &str = "AYA_LOGS";

/// Rules about what one Rust file names.
pub fn check(source: &Source) -> Vec<Finding> {
    if let Some(path) = source.path.strip_prefix(AGENT) {
        let room = path.split(['/', '.']).next().unwrap_or_default();
        let mut findings = libraries(source, room);
        if ROOMS.contains(&room) {
            findings.extend(rooms(source, room));
        }
        return findings;
    }
    if source.path.starts_with("lb-core/src/") { impure(source) } else { Vec::new() }
}

/// Rules about what one Cargo.toml depends on.
pub fn check_dependencies(source: &Source) -> Vec<Finding> {
    let Some(name) = source.path.strip_suffix("/Cargo.toml") else { return Vec::new() };
    let Some((_, allowed)) = ARROWS.iter().find(|(c, _)| *c == name) else { return Vec::new() };
    let mut findings = Vec::new();
    let mut section = String::new();
    for (index, line) in source.text.lines().enumerate() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
            continue;
        }
        let dependency = line.split(['.', '=', ' ']).next().unwrap_or_default();
        let ours = dependency.starts_with("lb-") || dependency == "xtask";
        if section.ends_with("dependencies") && ours && !allowed.contains(&dependency) {
            let rule = format!("{name} depends on {dependency}");
            findings.push(source.finding(index + 1, rule, format!("it may only depend on [{}]", allowed.join(", "))));
        }
    }
    findings
}

/// Names of maps and programs are the same on both sides.
pub fn check_maps(sources: &[Source]) -> Vec<Finding> {
    let Some(contract) = sources.iter().find(|s| s.path == MAPS) else { return Vec::new() };
    let names: Vec<(usize, &str)> = contract.code().filter_map(|(n, line)| Some((n, text_constant(line)?))).collect();
    let mut findings = Vec::new();
    let mut defined = vec![LIBRARY_MAP];
    for source in sources.iter().filter(|s| s.path.starts_with("lb-ebpf/src/")) {
        for (number, name) in kernel_names(source) {
            if !names.iter().any(|(_, n)| *n == name) {
                let rule = format!("{name} is not a name of {MAPS}");
                findings.push(source.finding(number, rule, "add the constant, or use the one that is there"));
            }
            defined.push(name);
        }
    }
    for (number, name) in names.into_iter().filter(|(_, name)| !defined.contains(name)) {
        let rule = format!("nothing in lb-ebpf is named {name}");
        findings.push(contract.finding(number, rule, "remove the constant, or correct it"));
    }
    findings
}

fn rooms(source: &Source, room: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let code: String = source.code().map(|(_, line)| format!("{line}\n")).collect();
    // From the room's own file, `super` is the crate.
    let depth = source.path.strip_prefix(AGENT).unwrap_or_default().matches('/').count();
    let up = format!("{}::", vec!["super"; depth + 1].join("::"));
    for from in ["crate::", "lb_userspace::", up.as_str()] {
        for (at, _) in code.match_indices(from) {
            let after_path = code[..at].ends_with("::");
            let other = |name: &&str| *name != room && ROOMS.contains(name);
            for name in first_segments(&code[at + from.len()..]).iter().filter(|n| !after_path && other(n)) {
                let line = code[..at].matches('\n').count() + 1;
                let remedy = "rooms meet in app.rs only: pass a type of lb-core, or declare a trait here";
                findings.push(source.finding(line, format!("{room} names {name}"), remedy));
            }
        }
    }
    findings
}

/// What directly follows `crate::`: one name, or those of a group in braces.
fn first_segments(text: &str) -> Vec<&str> {
    let name = |text: &'_ str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let Some(group) = text.strip_prefix('{') else { return vec![&text[..name(text)]] };
    let mut segments = Vec::new();
    let (mut depth, mut start) = (0usize, true);
    for (at, c) in group.char_indices() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && !c.is_whitespace() => {
                segments.push(&group[at..at + name(&group[at..])]);
                start = false;
            }
            _ => {}
        }
    }
    segments
}

fn libraries(source: &Source, room: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in source.code() {
        for (library, allowed) in LIBRARIES.iter().filter(|(_, allowed)| !allowed.contains(&room)) {
            let named = find_word(line, library).is_some_and(|at| line[at + library.len()..].starts_with("::"));
            if named || line.trim() == format!("use {library};") {
                let rule = format!("{library} outside {}", allowed.join(" and "));
                findings.push(source.finding(number, rule, "ask that room, through a type of lb-core or a trait"));
            }
        }
    }
    findings
}

fn impure(source: &Source) -> Vec<Finding> {
    let one = |(number, line): (usize, &str)| {
        let found = IMPURE.iter().filter(|name| line.contains(*name)).collect::<Vec<_>>();
        let remedy = "lb-core decides from its arguments only: take the value as one";
        found.into_iter().map(|name| source.finding(number, format!("{name} in lb-core"), remedy)).collect::<Vec<_>>()
    };
    source.code().flat_map(one).collect()
}

/// The value of `pub const NAME: &str = "VALUE";`.
fn text_constant(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("pub const ")?.split_once(": &str = \"")?.1.split('"').next()
}

/// Statics below `#[map]`, and functions below a program's attribute such as `#[sk_lookup]`.
fn kernel_names(source: &Source) -> Vec<(usize, &str)> {
    let lines: Vec<(usize, &str)> = source.code().map(|(number, line)| (number, line.trim())).collect();
    let mut names = Vec::new();
    for pair in lines.windows(2) {
        let [(_, attribute), (number, item)] = pair else { continue };
        let name = |keyword: &str, end: char| {
            let item = item.trim_start_matches("pub ").trim_start_matches("extern \"C\" ");
            item.strip_prefix(keyword)?.split(end).next()
        };
        let program = ["#[sk_lookup", "#[xdp", "#[classifier", "#[stream_verdict"].iter();
        if attribute.starts_with("#[map") {
            names.extend(name("static ", ':').map(|n| (*number, n)));
        } else if program.into_iter().any(|p| attribute.starts_with(p)) {
            names.extend(name("fn ", '(').map(|n| (*number, n)));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::source::expect;
    use super::*;

    #[test]
    fn rooms_do_not_import_one_another() {
        let proxy = "lb-userspace/src/proxy/accept.rs";
        expect(proxy, "use crate::publish::Reader;\n", check, &[]);
        expect(proxy, "use crate::proxy::listener;\n", check, &[]);
        expect(proxy, "//! See [`crate::control`].\n", check, &[]);
        expect(proxy, "\nuse crate::kernel::Counters;\n", check, &[(2, "proxy names kernel")]);
        expect(proxy, "use crate::{config::{A, kernel}, publish};\n", check, &[]);
        expect(proxy, "use crate::{\n    config,\n    admin::{A, B},\n};\n", check, &[(1, "proxy names admin")]);
        expect(proxy, "use super::super::control::source;\n", check, &[(1, "proxy names control")]);
        expect("lb-userspace/src/admin.rs", "use super::control;\n", check, &[(1, "admin names control")]);
        expect("lb-userspace/src/app.rs", "use crate::{admin, control, kernel, proxy};\n", check, &[]);
    }

    #[test]
    fn libraries_stay_in_their_rooms() {
        for (library, allowed) in LIBRARIES {
            let text = format!("use {library}::A;\n");
            expect("lb-userspace/src/publish.rs", &text, check, &[(1, library)]);
            expect(&format!("lb-userspace/src/{}/a.rs", allowed[0]), &text, check, &[]);
            expect(&format!("lb-userspace/src/{}.rs", allowed[0]), &text, check, &[]);
        }
        expect("lb-userspace/src/proxy/tls.rs", "use tokio_rustls::TlsAcceptor;\n", check, &[]);
    }

    #[test]
    fn lb_core_is_pure() {
        for name in IMPURE {
            expect("lb-core/src/balance.rs", &format!("fn a() {{\n    {name}x();\n}}\n"), check, &[(2, name)]);
            expect("lb-userspace/src/app.rs", &format!("fn a() {{\n    {name}x();\n}}\n"), check, &[]);
        }
        expect("lb-core/src/balance.rs", "use std::net::SocketAddr;\n", check, &[]);
    }

    #[test]
    fn crates_depend_in_one_direction() {
        let text = "[package]\nname = \"lb-core\"\n[dependencies]\nlb-common.workspace = true\nhttp.workspace = true\n";
        expect("lb-core/Cargo.toml", text, check_dependencies, &[]);
        expect("lb-common/Cargo.toml", text, check_dependencies, &[(4, "lb-common depends on lb-common")]);
        expect("xtask/Cargo.toml", text, check_dependencies, &[(4, "xtask depends on lb-common")]);
        let dev = "[dev-dependencies]\nlb-userspace = { path = \"../lb-userspace\" }\n";
        expect("lb-core/Cargo.toml", dev, check_dependencies, &[(2, "lb-core depends on lb-userspace")]);
    }

    #[test]
    fn map_names_are_the_same_on_both_sides() {
        let check = |contract: &str, kernel: &str, want: &[(&str, &str)]| {
            let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
            let findings = check_maps(&[source(MAPS, contract), source("lb-ebpf/src/main.rs", kernel)]);
            let found: Vec<(&str, &str)> = findings.iter().map(|f| (f.path.as_str(), f.rule.as_str())).collect();
            assert_eq!(found, want);
        };
        let contract = "pub const A: &str = \"LISTENERS\";\npub const L: &str = \"AYA_LOGS\";\n";
        let kernel = "#[map]\nstatic LISTENERS: HashMap<u8, u8> = x();\n";
        check(contract, kernel, &[]);
        check(
            contract,
            &kernel.replace("LISTENERS", "LISTENER"),
            &[
                ("lb-ebpf/src/main.rs", "LISTENER is not a name of lb-common/src/maps.rs"),
                (MAPS, "nothing in lb-ebpf is named LISTENERS"),
            ],
        );
        let program = format!("{kernel}#[sk_lookup]\npub fn sluice_lookup(ctx: SkLookupContext) -> u32 {{\n");
        check(contract, &program, &[("lb-ebpf/src/main.rs", "sluice_lookup is not a name of lb-common/src/maps.rs")]);
    }
}
