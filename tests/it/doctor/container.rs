//! Something like a container: a mount namespace with a read-only root, a user, some capabilities and no way to more.
//!
//! Goes in: what is to be there. Comes out: words to start a program under, and answers of `sluice doctor` from inside.

use lb_tests::agent::{SCRATCH, binary};
use lb_tests::lab::Lab;
use lb_tests::scratch::Scratch;
use serde_json::Value;

/// How the bpffs is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bpffs {
    /// Mounted beforehand, owned by the user.
    Owned,
    /// Mounted beforehand, and read-only.
    ReadOnly,
    /// Not there.
    Absent,
}

/// What is to be there.
#[derive(Debug, Clone)]
pub struct Container {
    user: u32,
    capabilities: Vec<&'static str>,
    bpffs: Bpffs,
    filtered: bool,
}

/// Makes the root read-only but for the run directory, and goes on without what was not given. Arguments: user, list of
/// capabilities, state of the bpffs, then the program.
const SCRIPT: &str = r#"
set -e
user=$1 capabilities=$2 bpffs=$3
shift 3
mkdir -p "$SLUICE_TEST_SCRATCH/run"
chown "$user:$user" "$SLUICE_TEST_SCRATCH/run"
case $bpffs in
Owned) mount -t bpf -o mode=0700 bpf /sys/fs/bpf && chown "$user" /sys/fs/bpf ;;
ReadOnly) mount -t bpf -o mode=0700,ro bpf /sys/fs/bpf ;;
Absent) umount -l /sys/fs/bpf ;;
esac
mount --bind "$SLUICE_TEST_SCRATCH/run" "$SLUICE_TEST_SCRATCH/run"
mount -o remount,ro,bind /
if touch "$SLUICE_TEST_SCRATCH/probe" 2>/dev/null; then
    echo "the root can be written" >&2
    exit 99
fi
exec setpriv --reuid "$user" --regid "$user" --clear-groups --bounding-set="$capabilities" \
    --inh-caps="$capabilities" --ambient-caps="$capabilities" --no-new-privs "$@"
"#;

/// Lets a seccomp filter refuse bpf(2) with EPERM, as runtimes' default profiles do.
const FILTER: &str = r#"
import ctypes, os, platform, struct, sys
number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
code = b"".join(struct.pack("HBBI", *one) for one in [
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)])
held = ctypes.create_string_buffer(code)
program = struct.pack("HL", 4, ctypes.addressof(held))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
os.execvp(sys.argv[1], sys.argv[1:])
"#;

impl Default for Container {
    /// Root with all that the agent needs.
    fn default() -> Self {
        Self { user: 0, capabilities: super::NEEDED.to_vec(), bpffs: Bpffs::Owned, filtered: false }
    }
}

impl Container {
    pub fn user(mut self, user: u32) -> Self {
        self.user = user;
        self
    }

    pub fn without(mut self, capabilities: &[&str]) -> Self {
        self.capabilities.retain(|one| !capabilities.contains(one));
        self
    }

    pub fn bpffs(mut self, bpffs: Bpffs) -> Self {
        self.bpffs = bpffs;
        self
    }

    pub fn seccomp(mut self) -> Self {
        self.filtered = true;
        self
    }

    /// Words before the program.
    pub fn words(&self) -> Vec<String> {
        let capabilities: String = self.capabilities.iter().map(|one| format!(",+{one}")).collect();
        let mut words: Vec<String> =
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"].map(str::to_owned).to_vec();
        words.extend([self.user.to_string(), format!("-all{capabilities}"), format!("{:?}", self.bpffs)]);
        if self.filtered {
            words.extend(["python3", "-c", FILTER].map(str::to_owned));
        }
        words
    }

    /// What `sluice doctor` says inside, and whether it calls the node good.
    pub fn doctor(&self, lab: &Lab, arguments: &[&str]) -> (Value, bool) {
        let (scratch, words) = (Scratch::new(), self.words());
        let mut command = lab.balancer.command(&words[0]);
        command.args(&words[1..]).arg(binary("sluice")).args(["doctor", "--output=json"]).args(arguments);
        command.arg("--run-dir").arg(scratch.path().join("run")).env(SCRATCH, scratch.path());
        super::answer(&command.output().expect("unshare runs"))
    }
}
