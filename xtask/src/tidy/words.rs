//! Rules about what is not written: words with a better one, unfinished work, and shortcuts that hide a failure.

use super::source::{Finding, Source, find_word};

/// A word, what to write instead, and what it may be part of. Written in two halves, so that this file passes itself.
const WORDS: [(&str, &str, &[&str]); 8] = [
    (concat!("black", "list"), "denylist", &[]),
    (concat!("white", "list"), "allowlist", &[concat!("white", "list-source-range"), concat!("limit-white", "list")]),
    (concat!("mas", "ter"), "leader, primary or main", &[]),
    (concat!("sla", "ve"), "replica or follower", &[]),
    (concat!("san", "ity"), "check, or what is checked", &[]),
    (concat!("dum", "my"), "sample, or what it stands for", &[]),
    (concat!("man-in-the-", "middle"), "on-path attacker", &[]),
    (concat!("grand", "fathered"), "exempt", &[]),
];

/// Marks of unfinished work, in capitals only.
const MARKS: [&str; 4] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

/// Code that is refused outside unit tests, with the remedy.
const SHORTCUTS: [(&str, &str); 5] = [
    (concat!("todo", "!("), "finish it, or leave it out"),
    (concat!("unimpl", "emented!("), "finish it, or leave it out"),
    (concat!(".unw", "rap()"), "return a typed error, or expect(\"the invariant\")"),
    (concat!("allow(dead", "_code)"), "remove the code"),
    (concat!("dbg", "!("), "remove it, or use tracing"),
];

/// Code that is refused everywhere, tests included.
const SKIPS: [(&str, &str); 2] = [
    (concat!("#[ign", "ore"), "make the test pass or remove it: a skipped test proves nothing"),
    (concat!("assert!(tr", "ue"), "assert something that can fail"),
];

/// All rules about words in one file.
pub fn check(source: &Source) -> Vec<Finding> {
    let mut findings = banned(source);
    if source.path.ends_with(".rs") {
        findings.extend(refused(source, &SKIPS, source.text.lines().enumerate().map(|(i, line)| (i + 1, line))));
        findings.extend(refused(source, &SHORTCUTS, source.code()));
    }
    findings
}

fn banned(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let lower = line.to_lowercase();
        for (word, better, within) in WORDS {
            let allowed = within.iter().fold(lower.clone(), |text, name| text.replace(name, ""));
            if allowed.contains(word) {
                findings.push(source.finding(index + 1, format!("the word {word:?}"), format!("write {better}")));
            }
        }
        for mark in MARKS.into_iter().filter(|mark| find_word(line, mark).is_some()) {
            findings.push(source.finding(index + 1, format!("the mark {mark}"), "do it now, or open an issue"));
        }
    }
    findings
}

fn refused<'a>(source: &Source, table: &[(&str, &str)], lines: impl Iterator<Item = (usize, &'a str)>) -> Vec<Finding> {
    let one = |(number, line): (usize, &str)| {
        let found = table.iter().filter(|(code, _)| line.contains(code));
        found.map(|(code, remedy)| source.finding(number, format!("{code} is refused"), *remedy)).collect::<Vec<_>>()
    };
    lines.flat_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::source::expect;
    use super::*;

    #[test]
    fn every_word_is_found_and_its_exceptions_are_not() {
        for (word, _, within) in WORDS {
            expect("docs/a.md", &format!("x\nthe {word}s are\n"), check, &[(2, word)]);
            expect("docs/a.md", &format!("The {}.\n", word.to_uppercase()), check, &[(1, word)]);
            for name in within {
                expect("docs/a.md", &format!("annotation {name}: 10.0.0.0/8\n"), check, &[]);
            }
        }
        for mark in MARKS {
            expect("a.toml", &format!("# {mark}: later\n"), check, &[(1, mark)]);
            expect("a.toml", &format!("# {}: later\n", mark.to_lowercase()), check, &[]);
        }
    }

    #[test]
    fn shortcuts_are_refused_outside_tests() {
        for (code, _) in SHORTCUTS {
            expect("a.rs", &format!("fn a() {{\n    {code};\n}}\n"), check, &[(2, code)]);
            expect("a.rs", &format!("// as {code} would\n"), check, &[]);
            expect("a.rs", &format!("#[cfg(test)]\nmod tests {{\n    {code};\n}}\n"), check, &[]);
            expect("tests/it/a.rs", &format!("    {code};\n"), check, &[]);
        }
    }

    #[test]
    fn skipped_tests_are_refused_in_tests_too() {
        for (code, _) in SKIPS {
            expect("tests/it/a.rs", &format!("x\n    {code}\n"), check, &[(2, code)]);
        }
    }
}
