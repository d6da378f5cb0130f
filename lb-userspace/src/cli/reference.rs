//! `docs/configuration.md`, made from the command line, the limits, the annotations and the metrics as they are in the
//! code. A test compares; `SLUICE_BLESS=1` makes it write.
//!
//! Goes in: the definitions. Comes out: Markdown. Is part of tests only.

use super::Cli;
use crate::admin::metrics;
use crate::control::translate::annotations::{
    self,
    table::{self, Meaning},
};
use clap::{Arg, Command, CommandFactory};
use std::fmt::Write as _;
use std::path::Path;

/// What people read before the tables.
const HEAD: &str = "# Configuration

Every flag, limit, annotation and metric. This page is made from the code by a test (`SLUICE_BLESS=1 cargo test --workspace --exclude lb-ebpf --lib reference`
writes it), so it is never behind. What to change when is in [tuning.md](tuning.md), what objects mean in [ingress.md](ingress.md).

Flags win over the environment, the environment over defaults. Times are milliseconds where the name ends in `-ms`, sizes are bytes. A value out of its bounds is a fault: every fault is
listed on standard error with its remedy, and the exit code is 64.
";

/// What people read before the annotations.
const ANNOTATIONS: &str = "
## Annotations

Under `nginx.ingress.kubernetes.io/`, in the order of their use in public charts. What a supported one does is in [ingress.md](ingress.md). One that is not supported is a fault of its
Ingress, which is served without it, except where leaving it out would open what its owner closed: then its routes answer 503.

| annotation | here |
|---|---|
";

/// What people read before the metrics.
const METRICS: &str = "
## Metrics

OpenMetrics at `/metrics` of `--admin`. Times are seconds, sizes bytes; counters end in `_total`.

| metric | type | meaning |
|---|---|---|
";

#[test]
fn the_configuration_reference_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let want = page();
    if std::env::var_os("SLUICE_BLESS").is_some() {
        std::fs::write(&path, &want).expect("written");
    }
    let held = std::fs::read_to_string(&path).expect("the page is there");
    let line = held.lines().zip(want.lines()).position(|(a, b)| a != b).unwrap_or(held.lines().count()) + 1;
    assert!(held == want, "docs/configuration.md:{line} is not what the code says: run this test with SLUICE_BLESS=1");
}

#[test]
fn flags_and_variables_are_unique_and_explained() {
    let command = Cli::command();
    let run = command.find_subcommand("run").expect("sluice run");
    let mut variables = Vec::new();
    for arg in run.get_arguments().filter(|arg| arg.get_long().is_some()) {
        assert!(arg.get_help().is_some(), "{} is not explained", arg.get_id());
        if let Some(variable) = arg.get_env() {
            let flag = arg.get_long().unwrap_or_default();
            assert_eq!(variable.to_string_lossy(), format!("SLUICE_{}", flag.to_uppercase().replace('-', "_")));
            variables.push(variable);
        }
    }
    let count = variables.len();
    variables.sort_unstable();
    variables.dedup();
    assert_eq!(variables.len(), count);
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut cli = Cli::command();
    cli.build();
    let run = cli.find_subcommand("run").expect("sluice run");
    flags(&mut page, run);
    commands(&mut page, &cli);
    page.push_str(ANNOTATIONS);
    for (name, meaning) in table::all() {
        let names: Vec<String> =
            std::iter::once(name).chain(table::aliases(name)).map(|name| format!("`{name}`")).collect();
        line(&mut page, &[&names.join(", "), &becomes(meaning)]);
    }
    let own: Vec<String> = annotations::own().map(|name| format!("`{name}`")).collect();
    let _ = write!(
        page,
        "\nOurs: {}; on an IngressClass `sluice.dev/mode`. See [ingress.md](ingress.md).\n",
        own.join(", ")
    );
    page.push_str(METRICS);
    for (name, kind, help) in metrics::described() {
        line(&mut page, &[&format!("`{name}`"), &kind, &format!("{}.", help.trim_end_matches('.'))]);
    }
    page
}

/// The flags of `sluice run`, a table for each heading.
fn flags(page: &mut String, run: &Command) {
    let shown = || run.get_arguments().filter(|arg| arg.get_long().is_some_and(|flag| flag != "help"));
    let mut headings: Vec<Option<&str>> = Vec::new();
    for arg in shown() {
        if !headings.contains(&arg.get_help_heading()) {
            headings.push(arg.get_help_heading());
        }
    }
    for heading in headings {
        let title = heading.map_or("`sluice run`".to_owned(), |heading| format!("`sluice run`: {heading}"));
        let _ = write!(page, "\n## {title}\n\n| flag | environment | default | meaning |\n|---|---|---|---|\n");
        for arg in shown().filter(|arg| arg.get_help_heading() == heading) {
            let variable = arg.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
            line(page, &[&format!("`{}`", usage(arg)), &variable, &default(arg), &meaning(arg)]);
        }
    }
}

/// The other commands, with their arguments.
fn commands(page: &mut String, cli: &Command) {
    page.push_str("\n## Commands\n\n| command | arguments | does |\n|---|---|---|\n");
    for noun in cli.get_subcommands().filter(|command| !["run", "help"].contains(&command.get_name())) {
        command(page, noun, &format!("sluice {}", noun.get_name()));
        for verb in noun.get_subcommands().filter(|command| command.get_name() != "help") {
            command(page, verb, &format!("sluice {} {}", noun.get_name(), verb.get_name()));
        }
    }
}

fn command(page: &mut String, command: &Command, name: &str) {
    let shown = command.get_arguments().filter(|arg| arg.get_id() != "help");
    let arguments: Vec<String> = shown.map(|arg| format!("`{}`", usage(arg))).collect();
    let does = command.get_about().map(ToString::to_string).unwrap_or_default();
    line(page, &[&format!("`{name}`"), &arguments.join(" "), &does]);
}

fn usage(arg: &Arg) -> String {
    let names: Vec<String> = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    let values = arg.get_possible_values();
    let value = if values.is_empty() || names.is_empty() {
        names.join(" ")
    } else {
        values.iter().map(|value| value.get_name()).collect::<Vec<_>>().join("|")
    };
    match arg.get_long() {
        Some(flag) if !arg.get_action().takes_values() => format!("--{flag}"),
        Some(flag) => format!("--{flag} {value}").trim_end().to_owned(),
        None => value,
    }
}

fn default(arg: &Arg) -> String {
    let values: Vec<String> =
        arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    match (values.is_empty(), arg.is_required_set()) {
        (false, _) => values.join(", "),
        (true, true) => "required".to_owned(),
        (true, false) => String::new(),
    }
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    format!("{}.", help.trim_end_matches('.'))
}

fn becomes(meaning: &Meaning) -> String {
    match meaning {
        Meaning::Supported => "supported".to_owned(),
        Meaning::Refused { default: None, instead } => format!("not supported: {instead}"),
        Meaning::Refused { default: Some(value), instead } => {
            format!("not supported: {instead}; `{value}` asks for just that")
        }
        Meaning::Protects { off: None } => "not supported, and protects: the routes answer 503".to_owned(),
        Meaning::Protects { off: Some(value) } => {
            format!("not supported, and protects: the routes answer 503, unless it is `{value}`")
        }
        Meaning::Snippet => "not supported; the routes answer 503 where its text looks like protection".to_owned(),
        Meaning::Canary => "not supported: the Ingress is not served, as it would take all requests".to_owned(),
    }
}

fn line(page: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}
