//! What is refused, and that the reason is said: sockets that do not fit, a process without privilege.

use super::lab::{Lab, Socket};
use lb_common::maps::SERVED_MAX;
use lb_userspace::kernel::{Steering, Unavailable};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Tells the test binary, run by ourselves as another user, where to try.
const TRY_IN: &str = "SLUICE_TEST_TRY_IN";

/// The user `nobody` of most systems; any number but 0 will do.
const NOBODY: u32 = 65534;

fn check(steering: &mut Steering, listeners: &[(&str, BorrowedFd<'_>)], reason: &str) {
    let parse = |addr: &str| addr.parse::<SocketAddr>().expect("test data is an address");
    let listeners: Vec<_> = listeners.iter().map(|(addr, socket)| (parse(addr), *socket)).collect();
    let error = steering.steer(&listeners).expect_err("this is refused").to_string();
    assert!(error.contains(reason), "{error}");
    assert_eq!(steering.report().maps[0].entries, Some(0), "a refusal changes nothing");
}

#[test]
fn sockets_that_would_get_no_connections_are_refused() {
    let lab = Lab::new();
    let mut steering = lab.open();
    let (v4, v6) = (lab.listen(Socket::V4), lab.listen(Socket::V6Only));
    let udp = UdpSocket::bind("127.0.0.1:0").expect("any port");
    let acceptor = TcpListener::bind("127.0.0.1:0").expect("any port");
    let connected = TcpStream::connect(acceptor.local_addr().expect("a socket has an address")).expect("connected");
    check(&mut steering, &[("10.77.0.2:80", v6.as_fd())], "takes only IPv6");
    check(&mut steering, &[("[fd77::2]:80", v4.as_fd())], "takes only IPv4");
    check(&mut steering, &[("10.77.0.2:80", udp.as_fd())], "does not listen");
    check(&mut steering, &[("10.77.0.2:80", connected.as_fd())], "does not listen");
    check(&mut steering, &[("10.77.0.2:80", v4.as_fd()), ("[::ffff:10.77.0.2]:80", v4.as_fd())], "twice");
    let many: Vec<String> = (0..=SERVED_MAX).map(|n| format!("10.78.{}.{}:80", n >> 8, n & 255)).collect();
    let many: Vec<_> = many.iter().map(|addr| (addr.as_str(), v4.as_fd())).collect();
    check(&mut steering, &many, &format!("the limit is {SERVED_MAX}"));
}

#[test]
fn as_many_listeners_as_promised_fit_and_can_all_be_replaced() {
    let lab = Lab::new();
    let mut steering = lab.open();
    let listener = lab.listen(Socket::V4);
    for net in [78, 79] {
        let addrs: Vec<String> = (0..SERVED_MAX).map(|n| format!("10.{net}.{}.{}:80", n >> 8, n & 255)).collect();
        let listeners: Vec<_> = addrs.iter().map(|addr| (addr.as_str(), &listener)).collect();
        let summary = lab.steer(&mut steering, &listeners);
        assert_eq!(summary.added, SERVED_MAX as usize);
    }
    assert_eq!(steering.report().maps[0].entries, Some(SERVED_MAX as usize));
}

#[test]
fn an_object_that_is_none_is_refused() {
    let lab = Lab::new();
    let open = |object: &'static [u8]| lab.server.run(|| Steering::open_object(&lab.pin_dir, object));
    let refused = open(b"not an object").expect_err("refused");
    assert!(matches!(refused, Unavailable::Object(_)), "{refused}");
    let refused = open(b"").expect_err("refused");
    assert!(matches!(refused, Unavailable::ObjectMissing), "{refused}");
    let left = std::fs::read_dir(&lab.pin_dir).expect("the pin directory is there").count();
    assert_eq!(left, 0, "nothing half made is left");
}

#[test]
fn without_privilege_the_reason_is_said() {
    let lab = Lab::new();
    drop(lab.open());
    let no_bpffs = std::env::temp_dir().join(format!("sluice-test-none-{}", std::process::id()));
    for pin_dir in [&lab.pin_dir, &no_bpffs] {
        let said = try_as_nobody(pin_dir);
        assert!(said.contains("NoPrivilege: not allowed to") && said.contains("CAP_NET_ADMIN"), "{said}");
    }
    std::fs::remove_dir_all(&no_bpffs).expect("the directory that was tried is removed");
}

#[test]
fn a_pin_directory_of_our_own_does_not_stand_in_for_privilege() {
    let dir = std::env::temp_dir().join(format!("sluice-test-open-{}", std::process::id()));
    std::fs::create_dir(&dir).expect("a directory is made");
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("bpf"), &dir, Some("bpf"), flags, Some("mode=0777")).expect("a bpffs is mounted");
    let said = try_as_nobody(&dir.join("pins"));
    nix::mount::umount2(&dir, nix::mount::MntFlags::MNT_DETACH).expect("it is unmounted");
    std::fs::remove_dir(&dir).expect("it is empty");
    assert!(said.contains("NoPrivilege: not allowed to make maps"), "{said}");
}

/// Runs [`tried_by_nobody`] in a process without privilege, and answers what it said.
fn try_as_nobody(pin_dir: &Path) -> String {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", "kernel::refusals::tried_by_nobody", "--nocapture"]).env(TRY_IN, pin_dir).uid(NOBODY);
    let output = command.output().expect("we can run ourselves");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// What [`try_as_nobody`] runs. By itself it proves that the same steps succeed with privilege.
#[test]
fn tried_by_nobody() {
    match std::env::var_os(TRY_IN) {
        Some(pin_dir) => match Steering::open(Path::new(&pin_dir)) {
            Ok(_) => panic!("opened without privilege"),
            Err(error @ Unavailable::NoPrivilege { .. }) => println!("NoPrivilege: {error}"),
            Err(error) => println!("another reason: {error}"),
        },
        None => drop(Lab::new().open()),
    }
}
