//! The image: made by Debian's `buildah` from `deploy/Dockerfile`, and unpacked again to see what is in it.
//!
//! Goes in: a directory with the binary. Comes out: an archive in the form of `docker save`, and a file system.
//! Does not do: needing a daemon or a registry. Its storage lies in `target/dist` and is removed.

use super::{call, output};
use crate::build::root;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Builds `name` (`repository:tag`) from `context` and writes it to `archive`.
pub fn build(context: &Path, name: &str, archive: &Path) -> Result<()> {
    let storage = context.with_file_name("storage");
    clear(&storage)?;
    // Plain copies of files instead of overlays, and no namespaces but a chroot: works in a container as well.
    let buildah = || {
        let mut command = Command::new("buildah");
        command.env("BUILDAH_ISOLATION", "chroot").arg("--storage-driver=vfs");
        command.arg("--root").arg(storage.join("root")).arg("--runroot").arg(storage.join("run"));
        command
    };
    let file = root().join("deploy/Dockerfile");
    output(buildah().args(["bud", "--quiet", "--tag", name, "--file"]).arg(file).arg(context))?;
    match fs::remove_file(archive) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", archive.display()));
        }
        _ => {}
    }
    let to = format!("docker-archive:{}:{name}", archive.display());
    output(buildah().args(["push", "--quiet", name, &to]))?;
    clear(&storage)
}

/// Unpacks the image into `directory`, which is emptied before, and checks what is in it: one file, and how it starts.
pub fn unpack(archive: &Path, directory: &Path) -> Result<()> {
    clear(directory)?;
    let member = |name: &str| {
        output(Command::new("tar").arg("--extract").arg("--to-stdout").arg("--file").arg(archive).arg(name))
    };
    let manifest: Value = serde_json::from_str(&member("manifest.json")?).context("manifest.json of the image")?;
    let config = manifest[0]["Config"].as_str().context("the image has no configuration")?;
    let config: Value = serde_json::from_str(&member(config)?).context("configuration of the image")?;
    check_config(&config["config"])?;
    let layers = directory.with_file_name("layers");
    clear(&layers)?;
    call(Command::new("tar").arg("--extract").arg("--directory").arg(&layers).arg("--file").arg(archive))?;
    for layer in manifest[0]["Layers"].as_array().context("the image has no layers")? {
        let layer = layers.join(layer.as_str().context("a layer without a name")?);
        call(Command::new("tar").arg("--extract").arg("--directory").arg(directory).arg("--file").arg(layer))?;
    }
    fs::remove_dir_all(&layers).with_context(|| format!("cannot remove {}", layers.display()))?;
    let listed = output(Command::new("find").arg(directory).args([
        "-mindepth",
        "1",
        "-not",
        "-type",
        "d",
        "-printf",
        "%P %m\\n",
    ]))?;
    ensure!(listed == "sluice 755\n", "the image should hold the binary alone, and holds:\n{listed}");
    Ok(())
}

fn check_config(config: &Value) -> Result<()> {
    ensure!(config["Entrypoint"] == serde_json::json!(["/sluice"]), "entry point {}", config["Entrypoint"]);
    ensure!(config["User"] == "0:0", "user {}", config["User"]);
    Ok(())
}

/// An empty directory of that name.
fn clear(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))
}
