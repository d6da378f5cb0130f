//! Kubernetes manifests as text, for tests that make them while they run.
//!
//! Comes out: YAML documents. Fixed manifests are files in `tests/data`.

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

/// A path of a rule: type, path, service and port as the rule names it.
pub type PathRule<'a> = (&'a str, &'a str, &'a str, u16);

/// An Ingress in namespace `default` with one host; an empty host is every host.
#[must_use]
pub fn ingress(name: &str, host: &str, paths: &[PathRule<'_>]) -> String {
    let host = if host.is_empty() { String::new() } else { format!("host: \"{host}\"\n    ") };
    let mut text = format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  rules:\n  \
         - {host}http:\n      paths:\n"
    );
    for (kind, path, service, port) in paths {
        writeln!(
            text,
            "      - {{path: \"{path}\", pathType: {kind}, backend: {{service: {{name: {service}, port: {{number: \
             {port}}}}}}}}}"
        )
        .expect("writing to a String does not fail");
    }
    text.push_str("---\n");
    text
}

/// An Ingress for all paths of a host, with annotations in YAML flow style.
#[must_use]
pub fn annotated(name: &str, host: &str, (service, port): (&str, u16), annotations: &str) -> String {
    let text = ingress(name, host, &[("Prefix", "/", service, port)]);
    text.replace("namespace: default}\nspec", &format!("namespace: default, annotations: {{{annotations}}}}}\nspec"))
}

/// A Service in namespace `default` with one port, and an EndpointSlice with one ready pod for each address.
/// Pods are named by service and last byte of the address, as [`identity`](crate::echo::Identity) of the backends.
#[must_use]
pub fn service(name: &str, port: u16, pods: &[SocketAddr]) -> String {
    let endpoints: Vec<(SocketAddr, &str)> = pods.iter().map(|pod| (*pod, "{ready: true}")).collect();
    service_with_conditions(name, port, &endpoints)
}

/// As [`service`], with the `conditions` of each endpoint in YAML flow style. All endpoints share the first one's port.
#[must_use]
pub fn service_with_conditions(name: &str, port: u16, pods: &[(SocketAddr, &str)]) -> String {
    let target = pods.first().map_or(port, |(pod, _)| pod.port());
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  ports: [{{name: http, port: \
         {port}, targetPort: {target}}}]\n---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: \
         {name}-1, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\nports: [{{name: \
         http, port: {target}}}]\nendpoints:"
    );
    if pods.is_empty() {
        text.push_str(" []");
    }
    text.push('\n');
    for (pod, conditions) in pods {
        let (ip, target) = (pod.ip(), pod_name(name, *pod));
        writeln!(
            text,
            "- {{addresses: [{ip}], conditions: {conditions}, targetRef: {{kind: Pod, name: {target}, namespace: default}}}}"
        )
        .expect("writing to a String does not fail");
    }
    text.push_str("---\n");
    text
}

/// The name of the pod of a service at an address: `cart-10`.
#[must_use]
pub fn pod_name(service: &str, pod: SocketAddr) -> String {
    let last = match pod.ip() {
        std::net::IpAddr::V4(ip) => u16::from(ip.octets()[3]),
        std::net::IpAddr::V6(ip) => ip.segments()[7],
    };
    format!("{service}-{last}")
}

/// Who the pod of a service at an address is.
#[must_use]
pub fn identity(service: &str, pod: SocketAddr) -> crate::echo::Identity {
    crate::echo::Identity {
        namespace: "default".to_owned(),
        ingress: String::new(),
        service: service.to_owned(),
        pod: pod_name(service, pod),
    }
}

/// A self-signed certificate with its key.
#[derive(Debug, Clone)]
pub struct TestCertificate {
    /// The certificate, DER.
    pub der: Vec<u8>,
    certificate_pem: String,
    key_pem: String,
}

impl TestCertificate {
    /// Makes a certificate for these names.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("the names are valid DNS names");
        Self {
            der: made.cert.der().to_vec(),
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        }
    }

    /// The certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key, PEM.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// What a TLS server does that shows it.
    #[must_use]
    pub fn server(&self) -> ServerConfig {
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("it was made just now");
        ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                let chain = vec![CertificateDer::from(self.der.clone())];
                config.with_no_client_auth().with_single_cert(chain, key)
            })
            .expect("certificate and key belong together")
    }

    /// The Secret of type `kubernetes.io/tls` that holds it, in namespace `default`.
    #[must_use]
    pub fn secret(&self, name: &str) -> String {
        let (certificate, key) = (base64(self.certificate_pem.as_bytes()), base64(self.key_pem.as_bytes()));
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: default}}\ntype: kubernetes.io/tls\ndata:\n  \
             tls.crt: {certificate}\n  tls.key: {key}\n---\n"
        )
    }
}

/// Base64 of RFC 4648 section 4, with padding.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let six = (word >> (18 - 6 * place)) & 0x3f;
            text.push(if place <= chunk.len() { char::from(ALPHABET[six as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648 section 10.
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
