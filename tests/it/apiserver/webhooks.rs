//! Validating webhooks are asked before anything is stored.

use super::client::Client;
use super::{CONFIG_MAPS, INGRESSES, JSON, config_map, ingress};
use lb_tests::apiserver::ApiServer;
use lb_tests::manifest::{TestCertificate, base64};
use rustls::{ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// A webhook that refuses hosts with `evil` in them.
struct Webhook {
    address: SocketAddr,
    authority: String,
    reviews: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    fn start() -> Self {
        let certificate = TestCertificate::new(&["sluice.sluice-system.svc", "127.0.0.1"]);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (address, config) = (listener.local_addr().expect("an address"), Arc::new(certificate.server()));
        let reviews = Arc::new(Mutex::new(Vec::new()));
        let seen = reviews.clone();
        // It ends with the process: nothing waits for it.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = ServerConnection::new(config.clone()).expect("a connection");
                let mut stream = BufReader::new(StreamOwned::new(connection, stream));
                let Some(review) = read(&mut stream) else { continue };
                let is_evil = review["request"]["object"].to_string().contains("evil");
                let answer = json!({
                    "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
                    "response": {"uid": review["request"]["uid"], "allowed": !is_evil, "status": {"message": "no evil here"}},
                })
                .to_string();
                seen.lock().expect("nobody panics with it").push(review);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
                let stream = stream.get_mut();
                stream.write_all((head + &answer).as_bytes()).and_then(|()| stream.flush()).expect("the server reads");
            }
        });
        Self { address, authority: base64(certificate.pem().as_bytes()), reviews }
    }

    fn seen(&self) -> Vec<Value> {
        std::mem::take(&mut *self.reviews.lock().expect("nobody panics with it"))
    }
}

fn read(stream: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

fn configuration(client: &Value, policy: &str) -> Value {
    let rule = json!({
        "operations": ["CREATE", "UPDATE"], "apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"], "resources": ["ingresses"],
    });
    let webhook = json!({
        "name": "check.sluice.dev", "clientConfig": client, "rules": [rule], "failurePolicy": policy, "timeoutSeconds": 1,
        "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "namespaceSelector": {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]},
    });
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "sluice"}, "webhooks": [webhook],
    })
}

#[test]
fn webhooks_are_asked() {
    let (server, webhook) = (ApiServer::start(), Webhook::start());
    let mut client = Client::admin(&server);
    server.put("apiVersion: v1\nkind: Namespace\nmetadata: {name: skipped, labels: {skip: please}}\n");
    let by_url = json!({"url": format!("https://{}/validate", webhook.address), "caBundle": webhook.authority});
    server.put_value(&configuration(&by_url, "Fail"));
    let post = |client: &mut Client, path: &str, name: &str, host: &str| {
        client.ask("POST", path, JSON, &ingress(name, host).to_string())
    };
    assert_eq!(post(&mut client, INGRESSES, "good", "good.test").0, 201);
    let (code, refused) = post(&mut client, INGRESSES, "bad", "evil.test");
    let message = "admission webhook \"check.sluice.dev\" denied the request: no evil here";
    assert_eq!((code, refused["message"].as_str()), (400, Some(message)), "{refused}");
    assert!(server.get("Ingress", "default", "bad").is_none());
    let (code, _) = client.ask("PUT", &format!("{INGRESSES}/good"), JSON, &ingress("good", "evil.test").to_string());
    assert_eq!(code, 400);
    let reviews = webhook.seen();
    let operations: Vec<&Value> = reviews.iter().map(|review| &review["request"]["operation"]).collect();
    assert_eq!(operations, ["CREATE", "CREATE", "UPDATE"]);
    assert_eq!(reviews[2]["request"]["oldObject"]["spec"]["rules"][0]["host"], "good.test");
    assert_eq!(reviews[2]["request"]["object"]["kind"], "Ingress");

    let skipped = INGRESSES.replace("/default/", "/skipped/");
    assert_eq!(post(&mut client, &skipped, "bad", "evil.test").0, 201, "its namespace is not selected");
    let status = json!({"status": {"loadBalancer": {"ingress": [{"hostname": "evil"}]}}}).to_string();
    let path = format!("{INGRESSES}/good/status");
    assert_eq!(client.ask("PATCH", &path, "application/merge-patch+json", &status).0, 200, "no rule names the status");
    assert_eq!(client.ask("POST", CONFIG_MAPS, JSON, &config_map("evil", &json!({}))).0, 201, "nor ConfigMaps");
    assert!(webhook.seen().is_empty());
}

#[test]
fn webhooks_by_service_and_webhooks_that_are_gone() {
    let (server, webhook) = (ApiServer::start(), Webhook::start());
    let mut client = Client::admin(&server);
    let by_service = json!({
        "service": {"name": "sluice", "namespace": "sluice-system", "path": "/validate", "port": 443},
        "caBundle": webhook.authority,
    });
    let mut post = |policy: &str, name: &str, host: &str| {
        server.put_value(&configuration(&by_service, policy));
        client.ask("POST", INGRESSES, JSON, &ingress(name, host).to_string()).0
    };
    assert_eq!(post("Fail", "a", "good.test"), 500, "there is no such Service");
    assert_eq!(post("Ignore", "a", "evil.test"), 201);
    server.put(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: sluice, namespace: sluice-system}}\n\
         spec: {{ports: [{{name: webhook, port: 443}}]}}\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n\
         metadata: {{name: sluice-1, namespace: sluice-system, labels: {{kubernetes.io/service-name: sluice}}}}\n\
         endpoints: [{{addresses: [127.0.0.1]}}]\nports: [{{name: webhook, port: {}}}]\n",
        webhook.address.port()
    ));
    assert_eq!(post("Fail", "b", "good.test"), 201);
    assert_eq!(post("Ignore", "c", "evil.test"), 400, "it answers, so its answer counts");
    server.edit("EndpointSlice", "sluice-system", "sluice-1", |slice| slice["ports"][0]["port"] = json!(1));
    assert_eq!(post("Fail", "d", "good.test"), 500, "nobody listens there");
}
