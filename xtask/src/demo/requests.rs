//! The requests of the demo: what is asked, what is right, and what came.
//!
//! Goes in: the running [`Network`]. Comes out: a [`Row`] for each request, made of curl's answer, the echo of the
//! backend, and what `sluice explain` says of the same request.

use super::network::{ADDRESS, ADDRESS_V6, Network, output};
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// A request and the right outcome.
pub struct Request {
    method: &'static str,
    url: &'static str,
    /// Over IPv6 rather than IPv4.
    v6: bool,
    ingress: &'static str,
    rule: &'static str,
    want: Want,
}

/// What must come back.
enum Want {
    /// 200 from a pod of this service, which saw this path.
    Echo(&'static str, &'static str),
    /// A redirect to this place.
    Redirect(&'static str),
}

/// What came back.
pub struct Row {
    request: &'static Request,
    status: u64,
    protocol: String,
    latency_us: u64,
    location: String,
    echo: Value,
    explanation: Value,
}

const fn get(url: &'static str, ingress: &'static str, rule: &'static str, want: Want) -> Request {
    Request { method: "GET", url, v6: false, ingress, rule, want }
}

/// Each shows something that the ones before it do not.
pub const REQUESTS: [Request; 13] = [
    get("http://localhost/cart", "first", "rules[0].paths[0]", Want::Echo("nginx", "/cart")),
    get("http://localhost/cart/", "first", "rules[0].paths[0]", Want::Echo("nginx", "/cart/")),
    get("http://localhost/cart/items?id=7", "first", "rules[0].paths[0]", Want::Echo("nginx", "/cart/items?id=7")),
    get("http://shop.example/", "web-and-api", "rules[0].paths[0]", Want::Echo("web", "/")),
    get("http://shop.example/api/orders", "web-and-api", "rules[0].paths[1]", Want::Echo("api", "/api/orders")),
    Request {
        method: "POST",
        url: "http://shop.example/api/orders",
        v6: true,
        ingress: "web-and-api",
        rule: "rules[0].paths[1]",
        want: Want::Echo("api", "/api/orders"),
    },
    get("http://shop.example/apiary", "web-and-api", "rules[0].paths[0]", Want::Echo("web", "/apiary")),
    get("http://www.shop.example/", "www-and-api", "rules[0].paths[0]", Want::Echo("web", "/")),
    get("http://api.shop.example/orders", "www-and-api", "rules[1].paths[0]", Want::Echo("api", "/orders")),
    get("http://secure.example/a", "tls", "rules[0].paths[0]", Want::Redirect("https://secure.example/a")),
    get("https://secure.example/a", "tls", "rules[0].paths[0]", Want::Echo("web", "/a")),
    get("http://rewrite.example/app/v2?x=1", "rewrite", "rules[0].paths[0]", Want::Echo("api", "/v2?x=1")),
    get("http://nobody.example/", "default-backend", "defaultBackend", Want::Echo("fallback", "/")),
];

/// Sends a request from the client's namespace, on a connection of its own, and asks the agent to explain the same.
pub fn ask(network: &Network, request: &'static Request) -> Result<Row> {
    let address = if request.v6 { format!("[{ADDRESS_V6}]") } else { ADDRESS.to_owned() };
    let mut curl = network.client("curl");
    curl.args(["--silent", "--show-error", "--max-time", "10", "--globoff", "--noproxy", "*", "--request"]);
    curl.arg(request.method).arg("--connect-to").arg(format!("::{address}:"));
    curl.arg("--cacert").arg(network.certificate());
    // After the body, on a line of its own; the echo has no line end in it.
    curl.args(["--write-out", "\n%{http_code} %{http_version} %{time_total} %{redirect_url}", request.url]);
    let answer = output(&mut curl)?;
    let (body, facts) = answer.rsplit_once('\n').context("curl wrote no facts")?;
    let mut facts = facts.splitn(4, ' ');
    let mut fact = || facts.next().unwrap_or_default();
    let (status, version, seconds, location) = (fact(), fact(), fact(), fact());

    let mut explain = network.client(network.sluice());
    explain.args(["explain", request.method, request.url, "--output", "json", "--run-dir"]).arg(network.run_dir());
    let explanation = output(&mut explain)?;
    Ok(Row {
        request,
        status: status.parse().with_context(|| format!("curl's status {status:?}"))?,
        protocol: format!("HTTP/{version}"),
        latency_us: (seconds.parse::<f64>().context("curl's time")? * 1e6) as u64,
        location: location.to_owned(),
        echo: serde_json::from_str(body).unwrap_or(Value::Null),
        explanation: serde_json::from_str(&explanation).context("the explanation is not JSON")?,
    })
}

impl Row {
    /// The service that answered; empty when no echo backend did.
    pub fn service(&self) -> &str {
        text(&self.echo, "service")
    }

    /// The pod that answered; empty when no echo backend did.
    pub fn pod(&self) -> &str {
        text(&self.echo, "pod")
    }

    /// What is not as it should be.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut compare = |what: &str, got: &str, want: &str| {
            if got != want {
                faults.push(format!("{} {}: {what} is {got:?}, not {want:?}", self.request.method, self.request.url));
            }
        };
        match self.request.want {
            Want::Echo(service, path) => {
                compare("status", &self.status.to_string(), "200");
                compare("service", self.service(), service);
                compare("path that the backend saw", text(&self.echo, "path"), path);
                compare("service explained", text(&self.explanation, "service"), &self.service_key(service));
            }
            Want::Redirect(location) => {
                compare("status", &self.status.to_string(), "308");
                compare("Location", &self.location, location);
            }
        }
        // curl asks for HTTP/2 where it can be agreed on: in the TLS handshake.
        let protocol = if self.request.url.starts_with("https") { "HTTP/2" } else { "HTTP/1.1" };
        compare("protocol", &self.protocol, protocol);
        compare("Ingress", text(&self.explanation, "ingress"), &format!("default/{}", self.request.ingress));
        compare("rule", text(&self.explanation, "rule"), self.request.rule);
        faults
    }

    /// The row of the table.
    pub fn cells(&self) -> [String; 7] {
        let over = if self.request.v6 { " (IPv6)" } else { "" };
        let answer = if self.location.is_empty() { String::new() } else { format!(" to {}", self.location) };
        let backend = if self.pod().is_empty() { "answered by sluice" } else { self.pod() };
        [
            format!("{} {}{over}", self.request.method, self.request.url),
            format!("{} {}", text(&self.explanation, "ingress"), text(&self.explanation, "rule")),
            format!("{}{answer}", self.status),
            backend.to_owned(),
            self.protocol.clone(),
            format!("{} ({})", self.class("class"), self.class("reason")),
            format!("{:.1} ms", self.latency_us as f64 / 1e3),
        ]
    }

    /// The class and its reason in words.
    pub fn reason(&self) -> Option<String> {
        let words = text(&self.explanation, "class_reason");
        (!words.is_empty()).then(|| format!("{} ({}): {words}", self.class("class"), self.class("reason")))
    }

    /// The row for scripts.
    pub fn json(&self) -> Value {
        json!({
            "method": self.request.method,
            "url": self.request.url,
            "ingress": self.explanation["ingress"],
            "rule": self.explanation["rule"],
            "status": self.status,
            "location": self.location,
            "service": self.service(),
            "backend": self.pod(),
            "path_seen": self.echo["path"],
            "protocol": self.protocol,
            "class": self.class("class"),
            "class_reason": self.explanation["class_reason"],
            "latency_us": self.latency_us,
        })
    }

    fn class(&self, field: &str) -> &str {
        text(&self.explanation["class"], field)
    }

    /// The explanation names a service with the port as the rule has it.
    fn service_key(&self, service: &str) -> String {
        let port = text(&self.explanation, "service").rsplit(':').next().unwrap_or_default();
        format!("default/{service}:{port}")
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}
