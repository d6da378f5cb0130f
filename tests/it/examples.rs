//! Examples that people copy are tested: the manifests in `deploy/examples`, and the marked blocks of the documentation.
//!
//! The convention, in `README.md` and `docs/*.md`:
//!
//! - A fenced block ```` ```console ```` is a session. Each line that begins with `$ sluice ` is run in the root of the
//!   repository; the lines below it, up to the next `$ ` or the end, must each be a line of its output, where `…`
//!   stands for any text. The exit code must be 0, or the number below a line `$ echo $?`. Commands that ask an agent
//!   ask one that serves `deploy/examples` with the Secret that the demo makes. Of `$ sluice run …`, which would not
//!   end, only the options are checked, against `sluice run --help`. Other `$ ` lines are not run.
//! - A fenced block ```` ```yaml ```` directly below a line `<!-- checked -->` is checked by `sluice check`, alone in a
//!   directory. It may name Services and Secrets that are not in it; any other fault fails.

use lb_tests::agent::{Agent, Setup, binary, text};
use lb_tests::lab::Lab;
use lb_tests::manifest::TestCertificate;
use lb_tests::scratch::Scratch;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Faults that a block of documentation may have, because it is an excerpt.
const EXCERPT: [&str; 3] = ["ServiceMissing", "SecretMissing", "NoEndpoints"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A copy of `deploy/examples`, with the Secret of tls.yaml or without.
fn examples(with_secret: bool) -> Scratch {
    let copy = Scratch::new();
    for entry in std::fs::read_dir(root().join("deploy/examples")).expect("the examples are there").flatten() {
        copy.write(&entry.file_name().to_string_lossy(), std::fs::read(entry.path()).expect("a file"));
    }
    if with_secret {
        copy.write("secret.yaml", TestCertificate::new(&["secure.example"]).secret("secure-example"));
    }
    copy
}

fn check(directory: &Path) -> (Output, Vec<Value>) {
    let output =
        Command::new(binary("sluice")).arg("check").arg(directory).args(["--output", "json"]).output().expect("runs");
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("sluice check: {e}: {}", text(&output)));
    let problems = report["problems"].as_array().cloned().unwrap_or_default();
    (output, problems.into_iter().filter(|p| p["severity"] == "fault").collect())
}

#[test]
fn the_manifests_have_no_fault_but_the_secret_that_is_not_committed() {
    let (output, faults) = check(examples(true).path());
    assert!(output.status.success() && faults.is_empty(), "{faults:#?}");

    let (output, faults) = check(examples(false).path());
    assert_eq!(output.status.code(), Some(64));
    let [fault] = faults.as_slice() else { panic!("one fault: {faults:#?}") };
    assert_eq!(fault["reason"], "SecretMissing");
    assert!(fault["message"].as_str().is_some_and(|m| m.contains("secure-example")), "{fault}");
}

#[test]
fn yaml_blocks_of_the_documentation_are_valid() {
    let mut count = 0;
    for (name, content) in documents() {
        for (line, _, block) in blocks(&content, "yaml").into_iter().filter(|(_, marked, _)| *marked) {
            let directory = Scratch::new();
            directory.write("block.yaml", &block);
            let (_, faults) = check(directory.path());
            let of_note: Vec<&Value> =
                faults.iter().filter(|f| !EXCERPT.contains(&f["reason"].as_str().unwrap_or_default())).collect();
            assert!(of_note.is_empty(), "{name}:{line}: {of_note:#?}\n{block}");
            count += 1;
        }
    }
    assert!(count > 0, "no block is marked <!-- checked -->: has the convention changed?");
}

#[test]
fn sessions_of_the_documentation_are_true() {
    let (lab, manifests) = (Lab::new(), examples(true));
    let agent = Setup::default().start(&lab, manifests.path());
    let mut count = 0;
    for (name, content) in documents() {
        for (line, _, block) in blocks(&content, "console") {
            for step in session(&block) {
                play(&agent, &step).unwrap_or_else(|fault| panic!("{name}:{line}: $ {}: {fault}", step.command));
                count += 1;
            }
        }
    }
    assert!(count > 0, "no session was found: has the convention changed?");
    agent.stop();
}

/// A command of a session, with what the document says of it.
#[derive(Debug, Default, PartialEq)]
struct Step {
    command: String,
    lines: Vec<String>,
    exit_code: i32,
}

fn session(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut running, mut exit_code) = (false, false);
    for line in block.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            running = command.starts_with("sluice ");
            exit_code = command == "echo $?";
            if running {
                steps.push(Step { command: command.to_owned(), ..Step::default() });
            }
        } else if let Some(step) = steps.last_mut() {
            if exit_code {
                step.exit_code = line.trim().parse().unwrap_or_else(|_| panic!("{line:?} is no exit code"));
                exit_code = false;
            } else if running && !line.trim().is_empty() {
                step.lines.push(line.trim_end().to_owned());
            }
        }
    }
    steps
}

fn play(agent: &Agent, step: &Step) -> Result<(), String> {
    // A comment may follow a command.
    let command = step.command.split(" #").next().unwrap_or_default();
    let words: Vec<&str> = command.split_whitespace().skip(1).map(|word| word.trim_matches(['\'', '"'])).collect();
    if words.first() == Some(&"run") {
        let help = Command::new(binary("sluice")).args(["run", "--help"]).output().expect("sluice runs");
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let option = |word: &&&str| word.starts_with("--") && !help.contains(word.split('=').next().unwrap_or(word));
        return words.iter().find(option).map_or(Ok(()), |word| Err(format!("there is no option {word}")));
    }
    let asks = !matches!(words.first(), Some(&"check" | &"unpin" | &"--version" | &"--help" | &"help"))
        && !words.contains(&"--directory");
    let output = if asks && !words.contains(&"--help") {
        agent.sluice(&words)
    } else {
        Command::new(binary("sluice")).current_dir(root()).args(&words).output().expect("sluice runs")
    };
    if output.status.code() != Some(step.exit_code) {
        return Err(format!("the document says exit code {}: {}", step.exit_code, text(&output)));
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let missing = step.lines.iter().find(|want| !said.lines().any(|line| matches_line(want, line.trim_end())));
    missing.map_or(Ok(()), |want| Err(format!("no line of the output is {want:?}:\n{said}")))
}

/// `…` stands for any text, and columns may be spaced otherwise.
fn matches_line(want: &str, line: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (want, line) = (squeeze(want), squeeze(line));
    let mut parts = want.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut last = None;
    for part in parts {
        let part = part.trim();
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    rest.is_empty() || last == Some("")
}

/// Fenced blocks of one language: line, whether `<!-- checked -->` stands above, content.
fn blocks(document: &str, language: &str) -> Vec<(usize, bool, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, bool, String)> = None;
    let (mut other, mut above) = (false, "");
    for (index, line) in document.lines().enumerate() {
        match (&mut open, line.trim_end().strip_prefix("```")) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some((_, _, content)), None) => content.push_str(&format!("{line}\n")),
            (None, Some(_)) if other => other = false,
            (None, Some(name)) if name == language => {
                open = Some((index + 1, above == "<!-- checked -->", String::new()))
            }
            (None, Some(_)) => other = true,
            (None, None) => {}
        }
        above = line.trim();
    }
    found
}

fn documents() -> Vec<(String, String)> {
    let docs = std::fs::read_dir(root().join("docs")).into_iter().flatten().flatten().map(|entry| entry.path());
    let paths = docs.chain([root().join("README.md")]).filter(|path| path.extension().is_some_and(|e| e == "md"));
    let read = |path: PathBuf| {
        let content = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), content)
    };
    paths.map(read).collect()
}

#[test]
fn the_convention_is_read_as_written() {
    let document = "a\n```console\n$ sluice check x\none … two\n$ echo $?\n64\n$ ls\nfoo\n```\n```yaml\nno\n```\n<!-- checked -->\n```yaml\nyes\n```\n";
    let [(line, _, block)] = &blocks(document, "console")[..] else { panic!("one console block") };
    assert_eq!(*line, 2);
    let step = Step { command: "sluice check x".to_owned(), lines: vec!["one … two".to_owned()], exit_code: 64 };
    assert_eq!(session(block), [step]);
    let yaml = blocks(document, "yaml");
    assert_eq!(yaml, [(10, false, "no\n".to_owned()), (14, true, "yes\n".to_owned())]);
    for (want, line, matches) in [
        ("a  b", "a b", true),
        ("a … d", "a b c d", true),
        ("a …", "a b c", true),
        ("… d", "a d", true),
        ("a", "a b", false),
        ("a … d", "a b c", false),
        ("b …", "a b c", false),
    ] {
        assert_eq!(matches_line(want, line), matches, "{want:?} {line:?}");
    }
}
