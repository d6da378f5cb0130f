//! The initial file system of a virtual machine: a shell, `ip`, modules, the tests, the agent.
//!
//! Owns: what is in it, and the script that runs as init. Goes in: an unpacked kernel and our binaries. Comes out: a
//! cpio archive. Does not do: booting.

use super::kernel::Kernel;
use crate::build;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Begins the line with the kernel's release.
pub const SAYS_KERNEL: &str = "sluice-vm kernel:";
/// Begins the line with the exit status of the tests.
pub const SAYS_STATUS: &str = "sluice-vm status:";

/// Modules that the tests need; what they depend on is found. Those for traffic control: where there is no tcx, programs
/// are filters. A tunnel and a bridge are interfaces to tell from others.
const MODULES: [&str; 5] = ["veth", "sch_ingress", "cls_bpf", "tun", "bridge"];

/// Our binaries.
pub struct Programs {
    pub tests: PathBuf,
    pub agent: PathBuf,
}

/// Packs an archive and answers where it is.
pub fn pack(kernel: &Kernel, programs: &Programs) -> Result<PathBuf> {
    let dir = build::target_dir().join("vm/initramfs");
    let _ = fs::remove_dir_all(&dir);
    for path in ["bin", "modules", "proc", "sys", "dev", "run", "tmp"] {
        fs::create_dir_all(dir.join(path)).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    for (program, path) in [("busybox", "bin/busybox"), ("ip", "bin/ip"), ("tc", "bin/tc")] {
        let found = crate::setup::find(program).with_context(|| format!("{program}: run `cargo xtask setup`"))?;
        add_program(&dir, &found, path)?;
    }
    add_program(&dir, &programs.tests, "bin/it")?;
    add_program(&dir, &programs.agent, "bin/sluice")?;
    let mut modules = Vec::new();
    for module in MODULES {
        add_module(&dir, &kernel.modules, module, &mut modules)?;
    }
    write_executable(&dir.join("init"), &init(&modules))?;
    archive(&dir)
}

/// The script that runs as init. It ends the machine in any case, so that a failure is no time-out.
fn init(modules: &[String]) -> String {
    let modules: String = modules.iter().map(|module| format!("insmod /modules/{module}.ko\n")).collect();
    format!(
        "#!/bin/busybox sh\n\
         /bin/busybox --install -s /bin\n\
         export PATH=/bin RUST_BACKTRACE=0\n\
         mount -t proc proc /proc\nmount -t sysfs sys /sys\nmount -t devtmpfs dev /dev\n\
         mount -t tmpfs run /run\nmount -t tmpfs tmp /tmp\n\
         {modules}ip link set lo up\n\
         echo \"{SAYS_KERNEL} $(uname -r)\"\n\
         it kernel:: --show-output\n\
         echo \"{SAYS_STATUS} $?\"\n\
         poweroff -f\n"
    )
}

/// Copies a program without its debug information, and the libraries that it loads.
fn add_program(dir: &Path, program: &Path, path: &str) -> Result<()> {
    let copy = dir.join(path);
    let strip = Command::new("strip").arg("--strip-debug").arg("-o").arg(&copy).arg(program).status();
    ensure!(strip.is_ok_and(|status| status.success()), "cannot copy {} with strip", program.display());
    let libraries = Command::new("ldd").arg(program).stderr(Stdio::null()).output().context("cannot start ldd")?;
    // A line has `name => /path (address)`, or `/path (address)` for the loader; a static program has none.
    for word in String::from_utf8_lossy(&libraries.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
        let place = dir.join(word.trim_start_matches('/'));
        if !place.exists() {
            fs::create_dir_all(place.parent().expect("a library lies in a directory"))?;
            fs::copy(word, &place).with_context(|| format!("cannot copy {word}"))?;
        }
    }
    Ok(())
}

/// Copies a module after those that it depends on, which it names itself.
fn add_module(dir: &Path, modules: &Path, name: &str, order: &mut Vec<String>) -> Result<()> {
    if order.iter().any(|added| added == name) {
        return Ok(());
    }
    let file = find_module(modules, name)?.with_context(|| format!("the kernel has no module {name}"))?;
    let bytes = if file.extension().is_some_and(|e| e == "xz") {
        Command::new("xz").arg("-dc").arg(&file).output().context("cannot start xz")?.stdout
    } else {
        fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?
    };
    for dependency in dependencies(&bytes) {
        add_module(dir, modules, &dependency, order)?;
    }
    fs::write(dir.join("modules").join(format!("{name}.ko")), bytes).context("cannot write a module")?;
    order.push(name.to_owned());
    Ok(())
}

fn find_module(dir: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?.flatten() {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if let Some(found) = find_module(&path, name)? {
                return Ok(Some(found));
            }
        } else if entry.file_name().to_string_lossy().split(".ko").next().is_some_and(|n| n.replace('-', "_") == name) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The entry `depends=a,b` of a module's information, which ends with a zero byte.
fn dependencies(module: &[u8]) -> Vec<String> {
    const MARK: &[u8] = b"\0depends=";
    let Some(start) = module.windows(MARK.len()).position(|bytes| bytes == MARK) else { return Vec::new() };
    let list = module[start + MARK.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(list).split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn write_executable(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).context("cannot make it executable")
}

fn archive(dir: &Path) -> Result<PathBuf> {
    let file = dir.with_extension("cpio");
    let script = "find . -print0 | cpio --null --create --format=newc --quiet --owner=0:0 > \"$0\"";
    let status = Command::new("sh").current_dir(dir).args(["-c", script]).arg(&file).status();
    ensure!(status.context("cannot start sh")?.success(), "cpio failed");
    Ok(file)
}
