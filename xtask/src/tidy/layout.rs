//! Rules about files: where they lie, how they are named, how they open, how long they and their functions are.

use super::source::{Finding, Source};

/// Most lines of a file without its tests.
const FILE_LINES_MAX: usize = 400;

/// Most lines of a function.
const FUNCTION_LINES_MAX: usize = 70;

/// What the top level of the repository holds, besides names that begin with a dot.
const TOP: [&str; 13] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "lb-common",
    "lb-core",
    "lb-ebpf",
    "lb-userspace",
    "xtask",
    "deploy",
    "docs",
    "tests",
];

/// File names that say nothing about what is inside.
const GRAB_BAGS: [&str; 8] = ["util", "utils", "helper", "helpers", "manager", "misc", "common", "mod"];

/// Rules about paths.
pub fn check_tree(paths: &[String]) -> Vec<Finding> {
    paths.iter().filter_map(|path| check_path(path)).collect()
}

/// Rules about one Rust file.
pub fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !source.text.starts_with("//!") {
        let remedy = "open with //! that says what the file owns, what goes in and out, what it does not do";
        findings.push(source.finding(1, "no file comment", remedy));
    }
    let lines = source.body().count();
    if lines > FILE_LINES_MAX {
        let rule = format!("{lines} lines without tests, more than {FILE_LINES_MAX}");
        findings.push(source.finding(lines, rule, "cut it into files of one noun each"));
    }
    findings.extend(long_functions(source));
    findings
}

fn check_path(path: &str) -> Option<Finding> {
    let finding = |rule: &str, remedy: &str| {
        Some(Finding { path: path.to_owned(), line: 1, rule: rule.to_owned(), remedy: remedy.to_owned() })
    };
    let top = path.split('/').next().unwrap_or_default();
    if !top.starts_with('.') && !TOP.contains(&top) {
        return finding("not a name of the top level", "move it below a directory that docs/ARCHITECTURE.md lists");
    }
    let stem = path.rsplit('/').next()?.strip_suffix(".rs")?;
    match stem {
        "mod" => finding("mod.rs", "name it after its module, beside the module's directory"),
        _ if GRAB_BAGS.contains(&stem) => finding("a file name that is no subject", "name it after the noun it owns"),
        _ => None,
    }
}

fn long_functions(source: &Source) -> Vec<Finding> {
    let lines: Vec<(usize, &str)> = source.body().collect();
    let mut findings = Vec::new();
    for (index, (number, line)) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let end = |(_, l): &&(usize, &str)| l.len() - l.trim_start().len() == indent && l.trim_start().starts_with('}');
        let opens = |(_, l): &&(usize, &str)| l.ends_with('{') || l.ends_with(';') || l.ends_with('}');
        // A declaration without a body, or a body on its one line.
        let head = lines[index..].iter().find(opens);
        if !head.is_some_and(|(_, l)| l.ends_with('{')) {
            continue;
        }
        let Some((last, _)) = lines[index + 1..].iter().find(end) else { continue };
        let length = last - number + 1;
        if length > FUNCTION_LINES_MAX {
            let rule = format!("fn {name} has {length} lines, more than {FUNCTION_LINES_MAX}");
            findings.push(source.finding(*number, rule, "give its steps names and functions of their own"));
        }
    }
    findings
}

/// The name of the function that a line begins to define.
fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    while !rest.starts_with("fn ") {
        let (word, after) = rest.split_once(' ')?;
        let modifier = matches!(word, "const" | "async" | "unsafe" | "extern" | "\"C\"") || word.starts_with("pub");
        if !modifier {
            return None;
        }
        rest = after;
    }
    rest.strip_prefix("fn ")?.split(['(', '<']).next()
}

#[cfg(test)]
mod tests {
    use super::super::source::expect;
    use super::*;

    #[test]
    fn paths() {
        let check = |path: &str, want: bool| assert_eq!(check_path(path).is_some(), want, "{path}");
        check("lb-core/src/route.rs", false);
        check(".ci/run", false);
        check("notes.txt", true);
        check("scripts/go.sh", true);
        check("lb-core/src/utils.rs", true);
        check("lb-core/src/common.rs", true);
        check("lb-core/src/route/mod.rs", true);
    }

    #[test]
    fn files() {
        expect("a.rs", "//! A.\n", check, &[]);
        expect("a.rs", "use std::fmt;\n", check, &[(1, "no file comment")]);
        let long = format!("//! A.\n{}", "const A: u8 = 1;\n".repeat(400));
        expect("a.rs", &long, check, &[(401, "401 lines")]);
        let tested = format!("//! A.\n#[cfg(test)]\n{}", "const A: u8 = 1;\n".repeat(400));
        expect("a.rs", &tested, check, &[]);
    }

    #[test]
    fn functions() {
        let function = |head: &str, lines: usize| format!("//! A.\n{head} {{\n{}}}\n", "    go();\n".repeat(lines));
        expect("a.rs", &function("fn a()", 68), check, &[]);
        expect("a.rs", &function("fn a()", 69), check, &[(2, "fn a has 71 lines")]);
        expect("a.rs", &function("pub(crate) async fn a<T>()", 69), check, &[(2, "fn a has 71 lines")]);
        expect("a.rs", &function("fn a(\n    b: u8,\n) -> u8", 69), check, &[(2, "fn a has 73 lines")]);
        expect("a.rs", &function("impl A", 69), check, &[]);
        let declared = format!("//! A.\ntrait A {{\n    fn a();\n{}}}\n", "    fn b() {}\n".repeat(80));
        expect("a.rs", &declared, check, &[]);
    }
}
