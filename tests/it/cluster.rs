//! The API of a cluster as a source: what is served of it, what is asked of it, and everything that it does to us.

mod access;
mod faults;
mod size;

use lb_tests::agent::{Agent, Setup};
use lb_tests::apiserver::ApiServer;
use lb_tests::backend::Backends;
use lb_tests::client::{Connection, get};
use lb_tests::lab::{HTTP, HTTPS, Lab, pod};
use lb_tests::manifest::{TestCertificate, identity, ingress, service};
use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where the API server listens, inside the balancer's namespace.
const API: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 6443);

/// Services of these tests, each with one pod.
const SERVICES: [&str; 3] = ["one", "two", "three"];

/// Our class.
pub const CLASS: &str = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: sluice}\nspec: {controller: \
                     sluice.dev/ingress}\n";

/// What the agent may do: RBAC as docs/operate.md has it.
pub const ROLES: &str = "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: sluice}
rules:
- {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [list, watch]}
- {apiGroups: [''], resources: [services, secrets, configmaps, nodes, namespaces], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: sluice}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: sluice}
subjects: [{kind: ServiceAccount, namespace: sluice-system, name: sluice}]
";

/// A network with backends, and an API server that knows their Services.
pub struct Stage {
    pub lab: Lab,
    pub api: ApiServer,
    pub token: String,
    pub kubeconfig: PathBuf,
    _backends: Backends,
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::new();
        let api = ApiServer::start_in(&lab.balancer, API);
        let pods = || SERVICES.into_iter().zip(10..).map(|(name, number)| (name, pod(number, 8080)));
        for (name, pod) in pods() {
            api.put(&service(name, 80, &[pod]));
        }
        api.put(CLASS);
        api.put(ROLES);
        let token = api.service_account("sluice-system", "sluice");
        let kubeconfig = api.kubeconfig(&token);
        let servers = pods().map(|(name, pod)| (pod, identity(name, pod))).collect();
        let backends = Backends::start(&lab.pods, servers);
        Self { lab, api, token, kubeconfig, _backends: backends }
    }

    fn setup() -> Setup {
        Setup::default().cluster().steering("off").arg("--splice=off")
    }

    fn start(&self) -> Agent {
        self.start_as(Self::setup().arg("--shutdown-delay-seconds=0"))
    }

    fn start_as(&self, setup: Setup) -> Agent {
        setup.start(&self.lab, &self.kubeconfig)
    }

    fn spawn(&self) -> Agent {
        Self::setup().arg("--shutdown-delay-seconds=0").spawn(&self.lab, &self.kubeconfig)
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

    fn metric(&self, agent: &Agent, name: &str) -> f64 {
        agent.metric(&self.lab.balancer, name)
    }

    fn ready(&self, agent: &Agent) -> Option<u16> {
        agent.admin(&self.lab.balancer, "/readyz").map(|response| response.status)
    }
}

/// An Ingress of our class, with one host that leads to one service.
fn site(host: &str, service: &str) -> String {
    of_class(&ingress(&host.replace('.', "-"), host, &[("Prefix", "/", service, 80)]), "sluice")
}

fn of_class(ingress: &str, class: &str) -> String {
    ingress.replace("spec:\n", &format!("spec:\n  ingressClassName: {class}\n"))
}

fn in_namespace(objects: &str, namespace: &str) -> String {
    objects.replace("namespace: default", &format!("namespace: {namespace}"))
}

#[test]
fn what_is_applied_is_served() {
    let stage = Stage::new();
    stage.api.put(&site("first.test", "one"));
    let agent = stage.start();
    stage.expect("first.test", Ok("one"));
    stage.expect("second.test", Err(404));

    stage.api.put(&site("second.test", "two"));
    stage.wait(&agent, "second.test", Ok("two"));
    stage.api.put(&site("second.test", "three"));
    stage.wait(&agent, "second.test", Ok("three"));
    assert!(stage.api.delete("Ingress", "default", "first-test"));
    stage.wait(&agent, "first.test", Err(404));
    stage.api.edit("EndpointSlice", "default", "three-1", |slice| slice["endpoints"] = serde_json::json!([]));
    stage.wait(&agent, "second.test", Err(503));

    // Not ours, or nobody's.
    stage.api.put(&ingress("unclassed", "unclassed.test", &[("Prefix", "/", "one", 80)]));
    stage.api.put(&of_class(&ingress("other", "other.test", &[("Prefix", "/", "one", 80)]), "other"));
    stage.api.put(&site("last.test", "one"));
    stage.wait(&agent, "last.test", Ok("one"));
    stage.expect("unclassed.test", Err(404));
    stage.expect("other.test", Err(404));

    let status = agent.json(&["status"]);
    assert_eq!(status["source"], format!("cluster https://{API}"));
    let contact = &status["contact"];
    assert!(contact["age_s"].as_u64().is_some_and(|age| age < 60), "{contact}");
    assert_eq!((contact["waits_for"].as_array().map(Vec::len), contact["failure"].is_null()), (Some(0), true));
    assert!(stage.metric(&agent, "sluice_source_events_total{kind=\"Ingress\"}") >= 6.0);
    assert_eq!(stage.metric(&agent, "sluice_source_relists_total{kind=\"Ingress\"}"), 0.0);
    assert_eq!(stage.metric(&agent, "sluice_source_watches_open{kind=\"Ingress\"}"), 1.0);
    let explained = agent.json(&["explain", "GET", "http://last.test/"]);
    assert_eq!(explained["ingress"], "default/last-test", "{explained}");
    agent.stop();
}

#[test]
fn a_certificate_rotates() {
    let stage = Stage::new();
    let (old, new) = (TestCertificate::new(&["tls.test"]), TestCertificate::new(&["tls.test"]));
    let tls = "spec:\n  tls: [{hosts: [tls.test], secretName: cert}]\n";
    stage.api.put(&site("tls.test", "one").replace("spec:\n", tls));
    stage.api.put(&old.secret("cert"));
    let agent = stage.start();
    let shown = || {
        let connection = Connection::tls(&stage.lab.client, HTTPS, Some("tls.test")).expect("TLS");
        connection.certificate().expect("TLS has a certificate")
    };
    assert_eq!(shown(), old.der);
    stage.api.put(&new.secret("cert"));
    agent.wait_until("the new certificate is shown", |_| shown() == new.der);
    stage.api.delete("Secret", "default", "cert");
    agent.wait_until("the default certificate is shown", |_| shown() != new.der);
    assert_ne!(shown(), old.der);
    // One of type Opaque is read for itself.
    stage.api.put(&old.secret("cert").replace("kubernetes.io/tls", "Opaque"));
    agent.wait_until("it comes back", |_| shown() == old.der);
}

#[test]
fn a_class_of_ingress_nginx_is_taken_over() {
    let stage = Stage::new();
    let class = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: nginx}\nspec:\n  controller: \
                 k8s.io/ingress-nginx\n";
    stage.api.put(class);
    let rule = |name: &str, host: &str| ingress(name, host, &[("ImplementationSpecific", "/a.c", "one", 80)]);
    let regex = "nginx.ingress.kubernetes.io/use-regex: 'true'";
    let with = |text: String, annotation: &str| {
        text.replace("namespace: default}", &format!("namespace: default, annotations: {{{annotation}}}}}"))
    };
    stage.api.put(&of_class(&rule("named", "named.test"), "nginx"));
    // In mode nginx the paths of a host are expressions when one Ingress of it asks for that.
    stage.api.put(&of_class(&with(ingress("asks", "named.test", &[("Prefix", "/x", "two", 80)]), regex), "nginx"));
    stage.api.put(&with(rule("annotated", "annotated.test"), "kubernetes.io/ingress.class: nginx"));
    stage.api.put(&site("ours.test", "one"));
    let agent = stage.start_as(Stage::setup().arg("--controller-class=k8s.io/ingress-nginx"));
    let status = |host: &str, path: &str| get(&stage.lab.client, HTTP, host, path).status;
    assert_eq!((status("named.test", "/abc"), status("annotated.test", "/a.c")), (200, 200));
    assert_eq!(status("ours.test", "/"), 404, "that class is of another controller now");

    // Its parameters say otherwise.
    let parameters = "  parameters: {kind: ConfigMap, name: mode, namespace: default, scope: Namespace}\n";
    stage.api.put("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mode, namespace: default}\ndata: {mode: spec}\n");
    stage.api.put(&(class.to_owned() + parameters));
    agent.wait_until("the class has the mode spec", |_| status("named.test", "/abc") == 404);
    stage.api.edit("ConfigMap", "default", "mode", |map| map["data"]["mode"] = "nginx".into());
    agent.wait_until("the class has the mode nginx", |_| status("named.test", "/abc") == 200);
}

#[test]
fn readiness_ends_before_service() {
    let stage = Stage::new();
    stage.api.put(&site("site.test", "one"));
    let mut agent = stage.start_as(Stage::setup().arg("--shutdown-delay-seconds=2"));
    let asked = Instant::now();
    agent.signal(Signal::SIGTERM);
    agent.wait_until("it is not ready", |agent| stage.ready(agent) == Some(503));
    while asked.elapsed() < Duration::from_millis(1_500) {
        stage.expect("site.test", Ok("one"));
    }
    // The configuration is followed meanwhile.
    assert!(agent.wait().success());
    assert!(asked.elapsed() >= Duration::from_secs(2));
    assert!(stage.lab.client.connect(HTTP).is_err());
}
