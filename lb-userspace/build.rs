//! Finds the eBPF object that `cargo xtask build` made, for [`include_bytes!`] in `kernel/object.rs`.
//!
//! Goes in: `SLUICE_EBPF_OBJECT`, else `bpf/lb-ebpf.o` in cargo's target directory. Comes out: a copy in `OUT_DIR`,
//! empty when there is none: a plain `cargo build` works without the eBPF tool chain, and the agent says so at start.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=SLUICE_EBPF_OBJECT");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let object = match std::env::var_os("SLUICE_EBPF_OBJECT") {
        // Named explicitly: an unreadable one is an error, not an agent without eBPF.
        Some(path) => {
            println!("cargo::rerun-if-changed={}", Path::new(&path).display());
            std::fs::read(&path).unwrap_or_else(|e| panic!("SLUICE_EBPF_OBJECT={}: {e}", Path::new(&path).display()))
        }
        None => built(&out),
    };
    std::fs::write(out.join("lb-ebpf.o"), object).expect("OUT_DIR is writable");
}

/// The object in the target directory, or nothing. The directory is watched, so it must exist before the object does.
fn built(out: &Path) -> Vec<u8> {
    let target = out.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists());
    let Some(dir) = target.map(|target| target.join("bpf")) else { return Vec::new() };
    std::fs::create_dir_all(&dir).expect("the target directory is writable");
    println!("cargo::rerun-if-changed={}", dir.display());
    std::fs::read(dir.join("lb-ebpf.o")).unwrap_or_default()
}
