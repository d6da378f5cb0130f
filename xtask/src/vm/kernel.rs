//! Debian's kernel packages, fetched once and kept unpacked under `target/vm`.
//!
//! Owns: a private configuration of apt, so that the user's sources stay as they are. Goes in: a series and the suite
//! of Debian that has it. Comes out: the image and the directory of modules. Does not do: installing anything.

use crate::build;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The keys that sign Debian's archive; they come with every Debian.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The archive. `apt` checks what comes by its signature, so plain HTTP is enough.
const ARCHIVE: &str = "http://deb.debian.org/debian";

/// A series of kernels and where Debian has it.
pub struct Series {
    pub name: &'static str,
    pub suite: &'static str,
}

/// An unpacked kernel.
pub struct Kernel {
    /// `vmlinuz`.
    pub image: PathBuf,
    /// Holds the modules, at any depth.
    pub modules: PathBuf,
}

/// Gets the newest kernel of a series; from the cache when one is there.
pub fn fetch(series: &Series) -> Result<Kernel> {
    let dir = cache().join(series.name);
    if let Ok(kernel) = unpacked(&dir) {
        return Ok(kernel);
    }
    println!("fetching Debian's kernel {} (once)", series.name);
    let apt = Apt::new(series)?;
    let package = apt.newest(series)?;
    let deb = apt.download(&package)?;
    // Unpacked beside, then renamed: an interrupted run leaves nothing that looks whole.
    let new = dir.with_extension("new");
    let _ = std::fs::remove_dir_all(&new);
    run(Command::new("dpkg").arg("-x").arg(&deb).arg(&new))?;
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::rename(&new, &dir).with_context(|| format!("cannot make {}", dir.display()))?;
    std::fs::remove_file(deb).context("cannot remove the package after unpacking")?;
    unpacked(&dir)
}

fn cache() -> PathBuf {
    build::target_dir().join("vm")
}

fn unpacked(dir: &Path) -> Result<Kernel> {
    let boot = dir.join("boot");
    let entries = std::fs::read_dir(&boot).with_context(|| format!("cannot read {}", boot.display()))?;
    let image = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")));
    let modules = ["usr/lib/modules", "lib/modules"].map(|path| dir.join(path)).into_iter().find(|path| path.is_dir());
    Ok(Kernel { image: image.context("the package has no vmlinuz")?, modules: modules.context("it has no modules")? })
}

/// apt with sources, state and cache of its own.
struct Apt {
    dir: PathBuf,
}

impl Apt {
    fn new(series: &Series) -> Result<Self> {
        ensure!(Path::new(KEYRING).exists(), "{KEYRING} is missing: this needs Debian, or its debian-archive-keyring");
        let dir = cache().join(format!("apt-{}", series.name));
        for path in ["lists/partial", "cache/archives/partial", "state"] {
            std::fs::create_dir_all(dir.join(path)).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let source = format!("deb [arch=amd64 signed-by={KEYRING}] {ARCHIVE} {} main\n", series.suite);
        std::fs::write(dir.join("sources.list"), source).context("cannot write sources.list")?;
        let apt = Self { dir };
        run(apt.command("apt-get").args(["-qq", "update"]))?;
        Ok(apt)
    }

    /// The package with the highest version: names differ only in numbers.
    fn newest(&self, series: &Series) -> Result<String> {
        let prefix = format!("linux-image-{}.", series.name);
        let output = self.command("apt-cache").arg("pkgnames").arg(&prefix).stdin(Stdio::null()).output()?;
        let names = String::from_utf8(output.stdout).context("apt speaks UTF-8")?;
        let cloud = names.lines().filter(|name| name.ends_with("-cloud-amd64"));
        let newest = cloud.max_by_key(|name| numbers(name));
        newest.map(str::to_owned).with_context(|| format!("Debian {} has no {prefix}*-cloud-amd64", series.suite))
    }

    fn download(&self, package: &str) -> Result<PathBuf> {
        run(self.command("apt-get").args(["-qq", "download", package]).current_dir(&self.dir))?;
        let entries = std::fs::read_dir(&self.dir).context("cannot read the download")?;
        let mut paths = entries.flatten().map(|entry| entry.path());
        paths.find(|path| path.extension().is_some_and(|e| e == "deb")).context("apt-get downloaded nothing")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let option = |name: &str, path: &str| format!("{name}={}", self.dir.join(path).display());
        for option in [
            option("Dir::Etc::SourceList", "sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            option("Dir::State", "state"),
            option("Dir::State::Lists", "lists"),
            option("Dir::Cache", "cache"),
            "Dir::State::Status=/dev/null".to_owned(),
            // The user that apt changes to may not reach our target directory.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }
}

fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
