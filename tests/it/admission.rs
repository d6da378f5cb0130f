//! The validating webhook: an API server asks the agent, by the real kubectl.

use crate::cluster::{CLASS, ROLES};
use lb_tests::agent::{Agent, Setup};
use lb_tests::apiserver::{ApiServer, Bulk};
use lb_tests::client::Connection;
use lb_tests::kubectl::program;
use lb_tests::lab::Lab;
use lb_tests::manifest::{TestCertificate, base64, ingress};
use lb_tests::scratch::Scratch;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Output;
use std::time::Instant;

/// Where the API server and the webhook listen, inside the balancer's namespace.
const API: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6443);
const WEBHOOK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9443);

/// A class of somebody else.
const OTHER: &str = "apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: other}
spec: {controller: other.example/ingress}
";

/// An annotation whose value is none that it may have.
const WRONG: &str = "nginx.ingress.kubernetes.io/proxy-connect-timeout: soon";

struct Stage {
    lab: Lab,
    api: ApiServer,
    certificate: TestCertificate,
    scratch: Scratch,
}

impl Stage {
    fn new() -> Self {
        let lab = Lab::new();
        let api = ApiServer::start_in(&lab.balancer, API);
        [CLASS, OTHER, ROLES].into_iter().for_each(|objects| api.put(objects));
        let certificate = TestCertificate::new(&["127.0.0.1"]);
        let scratch = Scratch::new();
        scratch.write("tls.crt", certificate.pem());
        scratch.write("tls.key", certificate.key_pem());
        Self { lab, api, certificate, scratch }
    }

    fn start(&self) -> Agent {
        let path = |name: &str| self.scratch.path().join(name).display().to_string();
        let setup = Setup::default().cluster().steering("off").arg("--splice=off").arg("--shutdown-delay-seconds=0");
        let setup = setup.arg(format!("--admission={WEBHOOK}"));
        let setup = setup.arg(format!("--admission-certificate={}", path("tls.crt")));
        let setup = setup.arg(format!("--admission-key={}", path("tls.key")));
        setup.start(&self.lab, &self.api.kubeconfig(&self.api.service_account("sluice-system", "sluice")))
    }

    /// What the chart makes, but for the Service.
    fn configure(&self, policy: &str) {
        let rule = json!({"operations": ["CREATE", "UPDATE"], "apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"],
            "resources": ["ingresses"], "scope": "Namespaced"});
        let authority = base64(self.certificate.pem().as_bytes());
        let client = json!({"url": format!("https://{WEBHOOK}/validate"), "caBundle": authority});
        self.api.put_value(&json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "sluice"},
            "webhooks": [{"name": "ingress.sluice.dev", "clientConfig": client, "rules": [rule], "failurePolicy": policy,
                "timeoutSeconds": 5, "sideEffects": "None", "admissionReviewVersions": ["v1"]}],
        }));
    }

    fn apply(&self, manifest: &str) -> Output {
        self.scratch.write("manifest.yaml", manifest);
        let mut kubectl = self.lab.balancer.command(program());
        kubectl.arg("--kubeconfig").arg(self.api.kubeconfig(self.api.admin_token())).env("HOME", self.scratch.path());
        kubectl.arg("apply").arg("--filename").arg(self.scratch.path().join("manifest.yaml"));
        kubectl.output().expect("kubectl: `cargo xtask setup` installs it")
    }

    /// The manifest is taken; answers what kubectl warned of.
    fn taken(&self, manifest: &str) -> String {
        let output = self.apply(manifest);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    }

    /// The manifest is refused, with these words.
    fn refused(&self, manifest: &str, words: &[&str]) {
        let output = self.apply(manifest);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "taken: {manifest}");
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} in {said}");
    }

    fn has(&self, name: &str) -> bool {
        self.api.get("Ingress", "default", name).is_some()
    }
}

fn site(name: &str, host: &str, class: &str) -> String {
    ingress(name, host, &[("Prefix", "/", "web", 80)])
        .replace("spec:\n", &format!("spec:\n  ingressClassName: {class}\n"))
}

fn annotated(site: &str, annotation: &str) -> String {
    site.replace("namespace: default}", &format!("namespace: default, annotations: {{{annotation}}}}}"))
}

#[test]
fn what_would_be_refused_is_not_taken() {
    let stage = Stage::new();
    let mut agent = stage.start();
    stage.configure("Ignore");
    let wrong = annotated(&site("wrong", "wrong.test", "sluice"), WRONG);
    stage.refused(
        &wrong,
        &["admission webhook \"ingress.sluice.dev\" denied the request", "proxy-connect-timeout", "soon", "Remedy"],
    );
    assert!(!stage.has("wrong"));
    // Its Service may come later.
    let warned = stage.taken(&site("good", "good.test", "sluice"));
    assert!(warned.contains("Warning: ") && warned.contains("web"), "{warned}");
    // The oldest has a path, also when the translation that serves knows it only now.
    agent.wait_until("it serves", |agent| agent.json(&["status"])["routes"] == 1);
    stage.refused(&site("thief", "good.test", "sluice"), &["PathConflict", "default/good"]);
    stage.refused(&annotated(&site("good", "good.test", "sluice"), WRONG), &["soon"]);
    // Others' are none of our business, and nothing is said of them.
    assert_eq!(stage.taken(&annotated(&site("others", "others.test", "other"), WRONG)), "");
    // Nothing that was asked about is served.
    let status = agent.json(&["status"]);
    assert_eq!((&status["routes"], &status["hosts"]), (&json!(1), &json!(1)), "{status}");

    agent.kill();
    stage.configure("Fail");
    stage.refused(&wrong, &["failed calling webhook"]);
    stage.configure("Ignore");
    stage.taken(&wrong);
    assert!(stage.has("wrong"));

    // What was wrong before may stay so, and be mended.
    let agent = agent.restart(&stage.lab, &stage.api.kubeconfig(&stage.api.service_account("sluice-system", "sluice")));
    stage.taken(&wrong.replace("metadata: {", "metadata: {labels: {a: b}, "));
    stage.taken(&site("wrong", "wrong.test", "sluice"));
    agent.stop();
}

#[test]
fn a_review_costs_little_in_a_large_cluster() {
    let stage = Stage::new();
    stage.api.load(&Bulk::default());
    let agent = stage.start();
    let before = agent.resident_bytes();
    let review = |number: usize| {
        let spec = json!({"ingressClassName": "sluice", "rules": [{"host": format!("new{number}.test"), "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]});
        let object = json!({"metadata": {"namespace": "default", "name": format!("new{number}")}, "spec": spec});
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": format!("r-{number}"),
            "kind": {"group": "networking.k8s.io", "version": "v1", "kind": "Ingress"}, "operation": "CREATE",
            "namespace": "default", "object": object}})
        .to_string()
    };
    let mut connection = Connection::tls(&stage.lab.balancer, WEBHOOK, Some("127.0.0.1")).expect("TLS");
    for number in 0..5 {
        let body = review(number);
        let asked = Instant::now();
        let response =
            connection.request("POST", "127.0.0.1", "/validate", &[], body.as_bytes()).expect("it is answered");
        let took = asked.elapsed();
        assert_eq!(response.status, 200, "{}", response.text());
        let answer: Value = serde_json::from_slice(&response.body).expect("JSON");
        assert_eq!(answer["response"]["allowed"], true, "{answer}");
        eprintln!("review {number}: {took:?}");
        assert!(took.as_millis() < 4_000, "{took:?}");
    }
    let after = agent.resident_bytes();
    eprintln!("memory before {before}, after {after} bytes");
    assert_eq!(agent.json(&["status"])["routes"], 10_000);
    assert!(after - before <= 80 << 20, "{before} and {after} bytes");
    let status = |method: &str, target: &str| {
        let connection = Connection::tls(&stage.lab.balancer, WEBHOOK, Some("127.0.0.1"));
        connection.expect("TLS").request(method, "127.0.0.1", target, &[], b"").expect("answered").status
    };
    assert_eq!((status("GET", "/healthz"), status("GET", "/validate"), status("POST", "/")), (200, 405, 404));
    agent.stop();
}
