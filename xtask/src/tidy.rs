//! `cargo xtask tidy`: the house rules that no compiler checks (`docs/ARCHITECTURE.md`).
//!
//! Owns: reading the tree and reporting. Goes in: every file that git tracks or would track. Comes out: one line for each
//! finding, `file:line: rule: remedy`, and an error when there is one. The rules are pure functions over text:
//! [`layout`] (files, sizes), [`words`] (what is not written), [`walls`] (who may know whom), [`danger`] (`unsafe`).
//! Does not do: parse Rust. The code is formatted by rustfmt before, so lines and indentation can be trusted.

pub mod danger;
pub mod layout;
pub mod source;
pub mod walls;
pub mod words;

use crate::build::root;
use anyhow::{Context, Result, bail, ensure};
use source::{Finding, Source};
use std::process::Command;

/// Suffixes of the files whose text is checked.
const TEXT: [&str; 8] = [".rs", ".toml", ".md", ".yaml", ".yml", ".html", ".sh", ".service"];

/// Checks the tree, prints what it finds, and fails when that is anything.
pub fn run(args: &[&str]) -> Result<()> {
    ensure!(args.is_empty(), "`cargo xtask tidy` takes no arguments");
    let paths = tracked()?;
    let sources = read(&paths)?;
    let findings = check(&paths, &sources);
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    println!("tidy: {} files, nothing to mend", sources.len());
    Ok(())
}

/// Every rule over every file.
fn check(paths: &[String], sources: &[Source]) -> Vec<Finding> {
    let mut findings = layout::check_tree(paths);
    for source in sources {
        findings.extend(words::check(source));
        if source.path.ends_with(".rs") {
            findings.extend(layout::check(source));
            findings.extend(danger::check(source));
            findings.extend(walls::check(source));
        }
        if source.path.ends_with("Cargo.toml") {
            findings.extend(walls::check_dependencies(source));
        }
    }
    findings.extend(walls::check_maps(sources));
    findings.sort();
    findings.dedup();
    findings
}

/// Paths of all files that are tracked or neither tracked nor ignored, relative to the repository.
fn tracked() -> Result<Vec<String>> {
    let output = Command::new("git")
        .current_dir(root())
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("cannot run git, which knows the files of the repository")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    // A file that was removed but not yet from the index is listed still.
    Ok(text.split('\0').filter(|path| !path.is_empty() && root().join(path).exists()).map(str::to_owned).collect())
}

fn read(paths: &[String]) -> Result<Vec<Source>> {
    let text = |path: &&String| TEXT.iter().any(|suffix| path.ends_with(suffix));
    // Some test data is damaged on purpose, so it is not held to rules about text.
    let read_one = |path: &String| {
        let text = std::fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"))?;
        Ok(Source { path: path.clone(), text })
    };
    paths.iter().filter(text).filter(|path| !path.starts_with("tests/data/")).map(read_one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_repository_is_tidy() {
        let paths = tracked().expect("git lists the files");
        let sources = read(&paths).expect("the files can be read");
        assert!(sources.len() > 20, "only {} files were found", sources.len());
        let findings: Vec<String> = check(&paths, &sources).iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    }
}
