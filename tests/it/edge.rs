//! What faces clients, through curl and OpenSSL: client certificates by annotation, sessions, HSTS, a balancer in front.

use lb_tests::agent::{Agent, Setup, text};
use lb_tests::backend::Backends;
use lb_tests::client::Connection;
use lb_tests::echo::Echo;
use lb_tests::lab::{HTTP, HTTPS, Lab, pod};
use lb_tests::manifest::{TestCertificate, base64, identity, ingress, service};
use lb_tests::scratch::Scratch;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

struct Stage {
    lab: Lab,
    agent: Agent,
    /// Certificates and keys for clients.
    files: Scratch,
    _backends: Backends,
    _manifests: Scratch,
}

/// An authority in PEM, and a client certificate of it with its key.
fn client_certificate(files: &Scratch) -> String {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "Our CA");
    let key = rcgen::KeyPair::generate().expect("a key");
    let authority = params.self_signed(&key).expect("an authority").pem();
    let issuer = rcgen::Issuer::new(params, key);
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "Test, Inc");
    params.distinguished_name.push(rcgen::DnType::CommonName, "alice");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = rcgen::KeyPair::generate().expect("a key");
    files.write("alice.crt", params.signed_by(&key, &issuer).expect("a certificate").pem());
    files.write("alice.key", key.serialize_pem());
    authority
}

impl Stage {
    /// `must.test` requires a client certificate, `free.test` does not; both have a certificate.
    fn new(arguments: &[&str]) -> Self {
        let (lab, manifests, files) = (Lab::new(), Scratch::new(), Scratch::new());
        let authority = base64(client_certificate(&files).as_bytes());
        let tls = |host: &str| format!("spec:\n  tls: [{{hosts: [{host}], secretName: {}}}]\n", host.replace('.', "-"));
        let host =
            |name: &str, host: &str| ingress(name, host, &[("Prefix", "/", "site", 80)]).replace("spec:\n", &tls(host));
        let ask = "namespace: default, annotations: {nginx.ingress.kubernetes.io/auth-tls-secret: default/ca}}";
        manifests.write("must.yaml", host("must", "must.test").replace("namespace: default}", ask));
        manifests.write("free.yaml", host("free", "free.test"));
        let secrets = ["must", "free"].map(|name| {
            let named = TestCertificate::new(&[&format!("{name}.test")]);
            named.secret(&format!("{name}-test"))
        });
        let ca = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: ca}}\ndata: {{ca.crt: {authority}}}\n");
        manifests.write("secrets.yaml", secrets.concat() + &ca);
        let address = pod(10, 8080);
        manifests.write("service.yaml", service("site", 80, &[address]));
        let backends = Backends::start(&lab.pods, vec![(address, identity("site", address))]);
        let setup = arguments.iter().fold(Setup::default(), |setup, argument| setup.arg(*argument));
        let agent = setup.start(&lab, manifests.path());
        Self { lab, agent, files, _backends: backends, _manifests: manifests }
    }

    /// Asks with curl: the status, and what it printed.
    fn curl(&self, arguments: &[&str]) -> (u16, String) {
        let mut curl = self.lab.client.command("curl");
        curl.args(["--silent", "--insecure", "--max-time", "20", "--write-out", "\n%{http_code}"]);
        for host in ["must.test", "free.test"] {
            curl.args(["--resolve", &format!("{host}:443:10.1.0.1"), "--resolve", &format!("{host}:80:10.1.0.1")]);
        }
        let output = curl.current_dir(self.files.path()).args(arguments).output().expect("curl runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (said, status) = said.rsplit_once('\n').unwrap_or_else(|| panic!("curl: {}", text(&output)));
        (status.parse().unwrap_or_default(), said.to_owned())
    }

    /// One request by `openssl s_client`, with the session in `session`.
    fn openssl(&self, arguments: &[&str]) -> Output {
        let mut openssl = self.lab.client.command("openssl");
        openssl.args(["s_client", "-connect", "10.1.0.1:443", "-servername", "free.test", "-ign_eof"]).args(arguments);
        openssl.current_dir(self.files.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = openssl.spawn().expect("openssl runs");
        let mut stdin = child.stdin.take().expect("its input");
        stdin.write_all(b"GET / HTTP/1.1\r\nHost: free.test\r\nConnection: close\r\n\r\n").expect("sent");
        child.wait_with_output().expect("it ends with the connection")
    }
}

const SHOW: [&str; 4] = ["--cert", "alice.crt", "--key", "alice.key"];

#[test]
fn client_certificates_by_annotation() {
    let stage = Stage::new(&[]);
    for version in ["--http1.1", "--http2"] {
        let ask = |arguments: &[&str]| stage.curl(&[&[version], arguments].concat());
        let (status, said) = ask(&[&SHOW[..], &["https://must.test/"]].concat());
        assert_eq!(status, 200, "{version}: {said}");
        let echo: Echo = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        for (name, want) in [
            ("ssl-client-verify", "SUCCESS"),
            ("ssl-client-subject-dn", "CN=alice,O=Test\\, Inc"),
            ("ssl-client-issuer-dn", "CN=Our CA"),
        ] {
            assert!(echo.header(name).is_some_and(|value| value.starts_with(want)), "{version}: {name}: {echo:?}");
        }
        let (status, said) = ask(&["https://must.test/"]);
        assert_eq!((status, said.contains("No required SSL certificate was sent")), (400, true), "{version}: {said}");
        let around = ["-H", "Host: must.test", "https://free.test/"];
        assert_eq!(ask(&around).0, 421, "{version}: by another server name");
        assert_eq!(ask(&["http://must.test/"]).0, 308, "{version}: in the clear");
        let forged = ["-H", "ssl-client-verify: SUCCESS", "https://free.test/"];
        let (status, said) = ask(&forged);
        assert_eq!((status, said.contains("ssl-client-verify")), (200, false), "{version}: {said}");
    }
    let log = stage.agent.access_log();
    assert!(log.contains("misdirected") && log.contains("client-certificate"), "{log}");
    stage.agent.stop();
}

#[test]
fn openssl_resumes_a_session_on_the_other_worker_too() {
    let stage = Stage::new(&[]);
    for version in ["-tls1_2", "-tls1_3"] {
        let first = stage.openssl(&[version, "-sess_out", "session"]);
        let said = String::from_utf8_lossy(&first.stdout).into_owned();
        assert!(said.contains("HTTP/1.1 200 OK"), "{version}: {}", text(&first));
        assert!(said.contains("ticket lifetime hint: 43200 (seconds)"), "{version}: {said}");
        assert!(Path::new(&stage.files.path().join("session")).exists(), "{version}");
        // The kernel spreads these over both workers.
        for _ in 0..8 {
            let again = stage.openssl(&[version, "-sess_in", "session"]);
            let said = String::from_utf8_lossy(&again.stdout).into_owned();
            assert!(said.contains("Reused, TLSv1."), "{version}: {}", text(&again));
        }
    }
    stage.agent.stop();
}

#[test]
fn settings_of_tls_reach_clients() {
    let stage = Stage::new(&["--tls-min-version=1.3", "--hsts-max-age=60", "--hsts-include-subdomains=off"]);
    let (status, said) = stage.curl(&["--head", "https://free.test/"]);
    assert_eq!(status, 200, "{said}");
    assert!(said.to_lowercase().contains("strict-transport-security: max-age=60\r\n"), "{said}");
    let old = stage.openssl(&["-tls1_2"]);
    assert!(text(&old).contains("alert protocol version"), "{}", text(&old));
    stage.agent.stop();
}

#[test]
fn a_balancer_in_front_is_believed_and_must_speak() {
    let stage = Stage::new(&["--proxy-protocol-from=10.1.0.0/24", "--limit-handshake-ms=1000"]);
    let echo = |header: &[u8], to| -> Echo {
        let mut connection = Connection::plain(&stage.lab.client, to).expect("connect");
        connection.send(header).expect("sent");
        connection.get("nobody.test", "/").expect("an answer");
        let mut connection = Connection::plain(&stage.lab.client, to).expect("connect");
        connection.send(header).expect("sent");
        connection.request("GET", "free.test", "/.well-known/acme-challenge/x", &[], b"").expect("an answer").echo()
    };
    let seen = echo(b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 8080\r\n", HTTP);
    assert_eq!((seen.header("x-real-ip"), seen.header("x-forwarded-port")), (Some("192.0.2.7"), Some("8080")));
    stage.agent.wait_until("the client is in the access log", |agent| agent.access_log().contains("192.0.2.7:40000"));

    // curl speaks for itself, before TLS and with HTTP/2 in it.
    let (status, said) = stage.curl(&["--haproxy-protocol", "--http2", "https://free.test/"]);
    assert_eq!((status, said.contains("\"x-real-ip\":[\"10.1.0.2\"]")), (200, true), "{said}");
    assert_eq!(stage.curl(&["https://free.test/"]).0, 0, "closed without a header");
    let mut silent = Connection::plain(&stage.lab.client, HTTPS).expect("connect");
    silent.expect_close().expect("closed when its time is up");
    let refused = stage.agent.metric(&stage.lab.balancer, "sluice_proxy_protocol_refused_total");
    assert!((refused - 2.0).abs() < f64::EPSILON, "{refused}");
    stage.agent.stop();
}

#[test]
fn settings_that_cannot_be_are_64_with_every_fault() {
    let files = Scratch::new();
    let arguments = [
        "--tls-ciphers=DES",
        "--hsts-preload=on",
        "--hsts-max-age=1",
        "--proxy-protocol-from=everywhere",
        "--limit-head-bytes=1",
        "--default-connect-ms=0",
    ];
    let mut sluice = std::process::Command::new(lb_tests::agent::binary("sluice"));
    let output = sluice.arg("run").arg("--directory").arg(files.path()).args(arguments).output().expect("sluice runs");
    assert_eq!(output.status.code(), Some(64), "{}", text(&output));
    let said = text(&output);
    for part in
        ["DES", "choose among TLS_", "--hsts-preload", "everywhere", "1024 to 1048576 bytes", "--default-connect-ms 0"]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
}
