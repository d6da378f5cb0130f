//! The configuration that is measured: Kubernetes objects for Sluice, server blocks for nginx, with equal routes.
//!
//! Goes in: the number of routes. Comes out: files, one Ingress each, as a cluster would hold them. Route 0 is the host
//! that is asked for, the others are `host-N.bench`; `changed.bench` is the one that `reconfigure` changes.

use super::change::PATH;
use super::lab::BACKEND;
use super::peer::{PASSTHROUGH_HOST, Setup, WEBSOCKET_HOST};
use anyhow::{Context, Result};
use std::path::Path;

/// Writes Services, EndpointSlices, the Secret and the Ingresses (plus the one that changes) to a directory.
pub fn write(dir: &Path, setup: Setup, crt: &str, key: &str) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let shared = [service("backend", 8000), secret(crt, key)].concat();
    std::fs::write(dir.join("shared.yaml"), shared)?;
    std::fs::write(dir.join("ingress-00000.yaml"), main_ingress(setup.carried))?;
    if setup.carried {
        std::fs::write(dir.join("carried.yaml"), carried())?;
    }
    for number in 1..setup.routes {
        let name = format!("host-{number}");
        std::fs::write(dir.join(format!("ingress-{number:05}.yaml")), ingress(&name, &format!("{name}.bench"), "/"))
            .with_context(|| format!("cannot write Ingress {number}"))?;
    }
    std::fs::write(dir.join(CHANGED_FILE), changed_ingress(PATH))?;
    Ok(())
}

/// File of the Ingress that changes.
pub const CHANGED_FILE: &str = "changed.yaml";

/// The Ingress of `changed.bench`, which serves one path.
pub fn changed_ingress(path: &str) -> String {
    ingress("changed", "changed.bench", path)
}

/// nginx's server block of `changed.bench`, which serves one path.
pub fn changed_server(address: &str, path: &str) -> String {
    nginx_server(address, "changed.bench", path)
}

/// An Ingress with one host and one path.
fn ingress(name: &str, host: &str, path: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  namespace: bench\nspec:\n{}",
        rules(host, path)
    )
}

/// Services and Ingresses of TLS that passes through, and of WebSockets.
fn carried() -> String {
    let passthrough = "  annotations:\n    sluice.dev/tls: passthrough\n";
    let services = [service("passthrough", 8443), service("websocket", 8001)].concat();
    let ingress = |name: &str, annotations: &str, host: &str| {
        let head =
            format!("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  namespace: bench\n");
        format!("{head}{annotations}spec:\n{}", rules_to(host, "/", name))
    };
    let one = ingress("passthrough", passthrough, PASSTHROUGH_HOST);
    format!("{services}{one}---\n{}", ingress("websocket", "", WEBSOCKET_HOST))
}

/// The Ingress of the host that is asked for, with TLS; its owner may allow that whole connections are carried.
fn main_ingress(carried: bool) -> String {
    let head = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: main\n  namespace: bench\n";
    // Plain HTTP is measured on the same host, so it must not be redirected.
    let annotations = "  annotations:\n    nginx.ingress.kubernetes.io/ssl-redirect: \"false\"\n";
    let steering = if carried { "    sluice.dev/steering: connection\n" } else { "" };
    let tls = "spec:\n  tls:\n  - hosts: [sluice.bench]\n    secretName: bench-tls\n";
    format!("{head}{annotations}{steering}{tls}{}", rules("sluice.bench", "/"))
}

fn rules(host: &str, path: &str) -> String {
    rules_to(host, path, "backend")
}

fn rules_to(host: &str, path: &str, service: &str) -> String {
    format!(
        "  rules:\n  - host: {host}\n    http:\n      paths:\n      - path: {path}\n        pathType: Prefix\n        backend:\n          \
         service:\n            name: {service}\n            port:\n              number: 80\n"
    )
}

/// A Service and its EndpointSlice with the backend as the only endpoint.
fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: bench\nspec:\n  ports:\n  - name: http\n    \
         port: 80\n    targetPort: {port}\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-1\n  \
         namespace: bench\n  labels:\n    kubernetes.io/service-name: {name}\naddressType: IPv4\nports:\n- name: http\n  \
         port: {port}\n  protocol: TCP\nendpoints:\n- addresses: [{BACKEND}]\n  conditions:\n    ready: true\n---\n"
    )
}

/// The Secret of the host that is asked for.
fn secret(crt: &str, key: &str) -> String {
    let head =
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: bench-tls\n  namespace: bench\ntype: kubernetes.io/tls\n";
    format!("{head}data:\n  tls.crt: {}\n  tls.key: {}\n", base64(crt.as_bytes()), base64(key.as_bytes()))
}

/// Server blocks with the same hosts for nginx.
pub fn nginx_servers(address: &str, routes: usize) -> String {
    let mut text = String::new();
    for number in 1..routes {
        text.push_str(&nginx_server(address, &format!("host-{number}.bench"), "/"));
    }
    text
}

/// A server block with one path; every other is answered 404, as Sluice does.
fn nginx_server(address: &str, host: &str, path: &str) -> String {
    format!(
        "server {{\n  listen {address}:80;\n  server_name {host};\n  location {path} {{ proxy_pass http://backend; }}\n}}\n"
    )
}

/// Base64 with padding (RFC 4648 section 4).
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let number = group.iter().chain([0; 2].iter()).take(3).fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
        for digit in 0..4 {
            let six = number >> (18 - 6 * digit) & 63;
            text.push(if digit <= group.len() { char::from(DIGITS[six]) } else { '=' });
        }
    }
    text
}
