//! The least privileges: with them everything works, without one of them the agent says which, and still serves.

use super::container::{Bpffs, Container};
use super::{NEEDED, check, lacking};
use lb_tests::agent::{Agent, Setup};
use lb_tests::client::{Connection, get};
use lb_tests::lab::HTTP;
use lb_tests::manifest::annotated;
use lb_tests::site::Site;

/// A user that is not root, and that nobody is.
const SOMEBODY: u32 = 65_432;

/// Bits of [`NEEDED`]: CAP_BPF 39, CAP_PERFMON 38, CAP_NET_ADMIN 12, CAP_NET_BIND_SERVICE 10.
const BITS: &str = "000000c000001400";

fn site() -> Site {
    let site = Site::new();
    let opted_in = annotated("stream", "stream.test", ("site", 80), "sluice.dev/steering: connection");
    site.manifests.write("stream.yaml", opted_in);
    site
}

fn setup(container: &Container) -> Setup {
    let words = container.words();
    Setup::default().under(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Packets and look-ups that the kernel did for us.
fn counted(agent: &Agent, site: &Site, name: &str) -> u64 {
    agent.metric(&site.lab.balancer, name) as u64
}

const STEERED: &str = "sluice_lookup_total{outcome=\"steered\"}";
const ACTIVATED: &str = "sluice_splice_packets_total{outcome=\"activated\"}";
const UP: &str = "sluice_splice_packets_total{outcome=\"up\"}";

/// A connection with several requests; the owner allows it to be carried.
fn talk(site: &Site) {
    let mut connection = Connection::plain(&site.lab.client, HTTP).expect("connected");
    for _ in 0..4 {
        assert_eq!(connection.get("stream.test", "/").expect("an answer").status, 200);
    }
}

fn check_enough(user: u32) {
    let site = site();
    let container = Container::default().user(user);
    let (said, good) = container.doctor(&site.lab, &["--steering=required", "--splice=required"]);
    assert!(good && lacking(&said).is_empty(), "user {user}: {said:#}");
    let agent = setup(&container).arg("--splice=required").start(&site.lab, site.manifests.path());
    let pid = agent.json(&["status"])["pid"].as_u64().expect("a process");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    for line in
        [format!("CapEff:\t{BITS}"), format!("CapBnd:\t{BITS}"), "NoNewPrivs:\t1".to_owned(), format!("Uid:\t{user}\t")]
    {
        assert!(status.contains(&line), "{line} in {status}");
    }
    talk(&site);
    agent.wait_until("the kernel carried a connection", |agent| counted(agent, &site, UP) >= 3);
    assert_eq!((counted(&agent, &site, STEERED), counted(&agent, &site, ACTIVATED)), (1, 1));
    assert_eq!(get(&site.lab.client, HTTP, "site.test", "/").status, 200);
    agent.stop();
}

#[test]
fn four_capabilities_and_a_read_only_root_are_enough_for_root() {
    check_enough(0);
}

#[test]
fn four_capabilities_and_a_read_only_root_are_enough_for_another_user() {
    check_enough(SOMEBODY);
}

/// Something that is taken away, and what becomes of it.
struct Loss {
    container: Container,
    /// What the log says about it, and the check that names it, with a part of its remedy or finding.
    said: Option<&'static str>,
    check: (&'static str, &'static str),
    /// Whether connections are still steered and carried.
    works: bool,
}

fn check_loss(loss: &Loss) {
    let site = site();
    let (said, good) = loss.container.doctor(&site.lab, &[]);
    let (name, part) = loss.check;
    let found = check(&said, name);
    assert!(good && found["state"] == "degraded" && found.to_string().contains(part), "{found:#}");
    let (said, good) = loss.container.doctor(&site.lab, &["--steering=required", "--splice=required"]);
    assert_eq!(good, loss.works, "{said:#}");
    assert_eq!(check(&said, name)["state"], if loss.works { "degraded" } else { "missing" }, "{said:#}");

    let agent = setup(&loss.container).steering("auto").start(&site.lab, site.manifests.path());
    talk(&site);
    let status = agent.json(&["status"]);
    assert_eq!(
        (&status["steering"]["active"], &status["splicing"]["active"]),
        (&loss.works.into(), &loss.works.into())
    );
    assert_eq!(counted(&agent, &site, STEERED), u64::from(loss.works));
    let log = agent.log();
    match loss.said {
        Some(said) => {
            for mode in ["NOT STEERING", "NOT SPLICING"] {
                let lines: Vec<&str> = log.lines().filter(|line| line.contains(mode)).collect();
                assert!(lines.len() == 1 && lines[0].contains(said), "{mode}: {said} in {log}");
            }
        }
        None => assert!(!log.contains("NOT S"), "{log}"),
    }
    agent.stop();
}

#[test]
fn without_one_of_them_the_agent_says_which_and_serves() {
    let without = |name| Container::default().without(&[name]);
    let losses = [
        (without("bpf"), Some("missing here: CAP_BPF."), ("CAP_BPF", "not in effect"), false),
        (without("net_admin"), Some("missing here: CAP_NET_ADMIN."), ("CAP_NET_ADMIN", "not in effect"), false),
        (without("perfmon"), Some("missing here: CAP_PERFMON."), ("CAP_PERFMON", "not in effect"), false),
        // Nothing is bound to a low port where the kernel steers.
        (without("net_bind_service"), None, ("CAP_NET_BIND_SERVICE", "not in effect"), true),
    ];
    assert_eq!(losses.len(), NEEDED.len());
    for (container, said, check, works) in losses {
        check_loss(&Loss { container, said, check, works });
    }
}

#[test]
fn without_a_bpffs_to_write_the_agent_says_so_and_serves() {
    let on = |bpffs| Container::default().bpffs(bpffs);
    let losses = [
        (on(Bpffs::Absent), "needs no CAP_SYS_ADMIN", ("bpffs", "mount -t bpf bpf /sys/fs/bpf")),
        (on(Bpffs::ReadOnly), "Read-only file system", ("bpffs", "remount,rw")),
        (on(Bpffs::ReadOnly).user(SOMEBODY), "not allowed to", ("bpffs", "own")),
    ];
    for (container, said, check) in losses {
        check_loss(&Loss { container, said: Some(said), check, works: false });
    }
}

#[test]
fn without_steering_and_without_the_right_to_low_ports_it_cannot_serve_and_says_so() {
    let site = site();
    let container = Container::default().without(&["bpf", "net_bind_service"]);
    let (said, good) = container.doctor(&site.lab, &[]);
    let found = check(&said, "listener 0.0.0.0:80");
    assert!(!good && found["state"] == "missing" && found.to_string().contains("CAP_NET_BIND_SERVICE"), "{said:#}");
    let mut agent = setup(&container).steering("auto").spawn(&site.lab, site.manifests.path());
    let status = agent.wait();
    assert_eq!(status.code(), Some(1), "{}", agent.log());
    assert!(agent.log().contains("CAP_NET_BIND_SERVICE"), "{}", agent.log());
}
