//! The directory as a source: every way in which files change, and files that are broken, too large or gone.

use lb_tests::agent::{Agent, Setup, binary, text};
use lb_tests::backend::Backends;
use lb_tests::client::get;
use lb_tests::lab::{HTTP, Lab, pod};
use lb_tests::manifest::{identity, ingress, service};
use lb_tests::scratch::Scratch;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// Services of these tests, each with one pod.
const SERVICES: [&str; 3] = ["one", "two", "three"];

struct Stage {
    lab: Lab,
    manifests: Scratch,
    _backends: Backends,
}

impl Stage {
    /// Backends and their services; each test adds the Ingresses.
    fn new() -> Self {
        let (lab, manifests) = (Lab::new(), Scratch::new());
        let pods = || SERVICES.into_iter().zip(10..).map(|(name, number)| (name, pod(number, 8080)));
        manifests.write("services.yaml", pods().map(|(name, pod)| service(name, 80, &[pod])).collect::<String>());
        let servers = pods().map(|(name, pod)| (pod, identity(name, pod))).collect();
        let backends = Backends::start(&lab.pods, servers);
        Self { lab, manifests, _backends: backends }
    }

    fn start(&self) -> Agent {
        Setup::default().start(&self.lab, self.manifests.path())
    }

    /// Who answers for a host: a service, or the status when nobody does.
    fn who(&self, host: &str) -> Result<String, u16> {
        let response = get(&self.lab.client, HTTP, host, "/");
        if response.status == 200 { Ok(response.echo().identity.service) } else { Err(response.status) }
    }

    fn expect(&self, host: &str, want: Result<&str, u16>) {
        assert_eq!(self.who(host), want.map(str::to_owned), "{host}");
    }

    fn wait(&self, agent: &Agent, host: &str, want: Result<&str, u16>) {
        let want = want.map(str::to_owned);
        agent.wait_until(&format!("{host} is answered by {want:?}"), |_| self.who(host) == want);
    }
}

/// An Ingress of one host that leads to one service.
fn site(host: &str, service: &str) -> String {
    ingress(&host.replace('.', "-"), host, &[("Prefix", "/", service, 80)])
}

#[test]
fn the_first_ingress() {
    let (lab, manifests) = (Lab::new(), Scratch::new());
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/first.yaml");
    manifests.write("first.yaml", std::fs::read(example).expect("the example is there"));
    let pods: Vec<_> = (10..13).map(|number| pod(number, 8055)).collect();
    let slice = service("nginx", 8055, &pods);
    // The port of the example's Service has no name, so neither has the one of the slice.
    let slice = slice.split("---\n").nth(1).expect("the EndpointSlice is the second document");
    manifests.write("first.endpoints.yaml", slice.replace("name: http, ", ""));
    let _backends = Backends::start(&lab.pods, pods.iter().map(|pod| (*pod, identity("nginx", *pod))).collect());
    let agent = Setup::default().start(&lab, manifests.path());

    let mut seen = BTreeSet::new();
    for path in ["/cart", "/cart/", "/cart/items", "/cart?id=1", "/cart/a/b", "/cart/x"] {
        let response = get(&lab.client, HTTP, "localhost", path);
        assert_eq!(response.status, 200, "{path}: {response:?}");
        let echo = response.echo();
        assert_eq!((echo.identity.service.as_str(), echo.path.as_str()), ("nginx", path));
        seen.insert(echo.identity.pod);
    }
    assert_eq!(seen.len(), 3, "three replicas: {seen:?}");
    for (host, path) in [("localhost", "/"), ("localhost", "/cartography"), ("other", "/cart")] {
        assert_eq!(get(&lab.client, HTTP, host, path).status, 404, "{host}{path}");
    }
    agent.stop();
}

#[test]
fn edits_of_every_kind_are_served() {
    let stage = Stage::new();
    stage.manifests.write("a.yaml", site("a.test", "one"));
    let agent = stage.start();
    stage.expect("a.test", Ok("one"));

    stage.manifests.write("a.yaml", site("a.test", "two"));
    stage.wait(&agent, "a.test", Ok("two"));
    stage.manifests.replace("a.yaml", site("a.test", "three"));
    stage.wait(&agent, "a.test", Ok("three"));
    stage.manifests.write("b.yaml", site("b.test", "one"));
    stage.wait(&agent, "b.test", Ok("one"));

    // Editors leave these beside a file; they are not manifests.
    for name in [".b.yaml.swp", "b.yaml~", "#b.yaml#", ".hidden.yaml"] {
        stage.manifests.write(name, site("swap.test", "one"));
    }
    stage.manifests.remove("a.yaml");
    stage.wait(&agent, "a.test", Err(404));
    stage.expect("b.test", Ok("one"));
    stage.expect("swap.test", Err(404));
    agent.stop();
}

#[test]
fn a_mounted_config_map_is_followed() {
    let stage = Stage::new();
    let mount = stage.manifests.path().join("mounted");
    let write = |version: &str, service: &str| {
        std::fs::create_dir_all(mount.join(version)).expect("directory");
        std::fs::write(mount.join(version).join("site.yaml"), site("a.test", service)).expect("file");
        symlink(version, mount.join("..data_tmp")).expect("symlink");
        std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("rename");
    };
    // As the kubelet lays a volume out: the file is a link through ..data, which is swapped whole.
    write("..2026_01", "one");
    symlink("..data/site.yaml", mount.join("site.yaml")).expect("symlink");
    let agent = stage.start();
    stage.expect("a.test", Ok("one"));
    for (version, service) in [("..2026_02", "two"), ("..2026_03", "three")] {
        write(version, service);
        stage.wait(&agent, "a.test", Ok(service));
    }
    agent.stop();
}

#[test]
fn a_broken_file_keeps_its_last_good_objects_and_holds_up_no_other() {
    let stage = Stage::new();
    stage.manifests.write("a.yaml", site("a.test", "one"));
    stage.manifests.write("b.yaml", site("b.test", "one"));
    let agent = stage.start();

    stage.manifests.replace("a.yaml", "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: x\n");
    stage.manifests.replace("b.yaml", site("b.test", "two"));
    stage.wait(&agent, "b.test", Ok("two"));
    stage.expect("a.test", Ok("one"));
    agent.wait_until("the broken file is a problem", |agent| {
        let problems = agent.json(&["problems"]);
        let of_file = |p: &&serde_json::Value| p["place"]["file"].as_str().is_some_and(|f| f.ends_with("a.yaml"));
        let found = problems.as_array().and_then(|all| all.iter().find(of_file)).cloned();
        found.is_some_and(|p| p["place"]["line"].as_u64() > Some(0) && p["remedy"].as_str() != Some(""))
    });

    stage.manifests.replace("a.yaml", site("a.test", "three"));
    stage.wait(&agent, "a.test", Ok("three"));
    assert!(!agent.json(&["problems"]).to_string().contains("a.yaml"), "a mended file is no problem");
    agent.stop();
}

#[test]
fn a_file_of_100_megabytes_is_refused_by_name_and_the_rest_serves() {
    let stage = Stage::new();
    stage.manifests.write("a.yaml", site("a.test", "one"));
    // Sparse: only its size matters, as nobody may read it whole.
    let huge = File::create(stage.manifests.path().join("huge.yaml")).expect("file");
    huge.set_len(100 * 1024 * 1024).expect("size");
    let agent = stage.start();
    stage.expect("a.test", Ok("one"));
    let problems = agent.json(&["problems"]).to_string();
    assert!(problems.contains("huge.yaml") && problems.contains("FileTooLarge"), "{problems}");
    agent.stop();

    let output = Command::new(binary("sluice")).arg("check").arg(stage.manifests.path()).output().expect("sluice runs");
    assert_eq!(output.status.code(), Some(64), "{}", text(&output));
    assert!(text(&output).contains("huge.yaml"), "{}", text(&output));
}
