//! Certificates of the server, and the files that clients find it by.
//!
//! Goes in: the address. Comes out: a certificate authority, the server's TLS configuration, kubeconfig files and the
//! directory of a service account. Does not do: client certificates.

use base64::Engine;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Names that the server's certificate is valid for, besides its addresses.
const NAMES: &[&str] = &[
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// The authority in PEM, and the server's side of TLS.
#[derive(Debug)]
pub(super) struct Credential {
    pub authority: String,
    pub config: Arc<ServerConfig>,
}

impl Credential {
    /// Makes both.
    pub fn new(address: IpAddr) -> Self {
        let key = || KeyPair::generate().expect("the system has randomness for a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, "sluice stand-in for kube-apiserver");
        let authority_key = key();
        let authority = params.self_signed(&authority_key).expect("the parameters are those of an authority");
        let issuer = Issuer::new(params, authority_key);
        let mut names: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
        names.extend(["127.0.0.1".to_owned(), "::1".to_owned(), address.to_string()]);
        let mut params = CertificateParams::new(names).expect("the names are valid");
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server_key = key();
        let certificate = params.signed_by(&server_key, &issuer).expect("the authority can sign");
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .expect("the key is the certificate's");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { authority: authority.pem(), config: Arc::new(config) }
    }

    /// A kubeconfig for a token.
    pub fn kubeconfig(&self, address: SocketAddr, token: &str) -> String {
        let authority = base64::engine::general_purpose::STANDARD.encode(&self.authority);
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: stand-in\n\
             clusters:\n- name: stand-in\n  cluster:\n    server: https://{address}\n    certificate-authority-data: {authority}\n\
             users:\n- name: stand-in\n  user:\n    token: {token}\n\
             contexts:\n- name: stand-in\n  context: {{cluster: stand-in, user: stand-in, namespace: default}}\n"
        )
    }
}
