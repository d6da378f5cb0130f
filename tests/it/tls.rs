//! TLS: which certificate a name gets, and what happens to open connections when one is replaced.

use lb_tests::agent::Setup;
use lb_tests::backend::Backends;
use lb_tests::client::Connection;
use lb_tests::lab::{HTTPS, Lab, pod};
use lb_tests::manifest::{TestCertificate, identity, ingress, service};
use lb_tests::scratch::Scratch;

/// An Ingress for some hosts with `tls` entries: (host, Secret).
fn tls_ingress(name: &str, entries: &[(&str, &str)]) -> String {
    let plain = ingress(name, "", &[("Prefix", "/", "site", 80)]);
    let tls: String =
        entries.iter().map(|(host, secret)| format!("  - {{hosts: [\"{host}\"], secretName: {secret}}}\n")).collect();
    plain.replace("spec:\n", &format!("spec:\n  tls:\n{tls}"))
}

fn site(lab: &Lab, manifests: &Scratch) -> Backends {
    let address = pod(10, 8080);
    manifests.write("service.yaml", service("site", 80, &[address]));
    Backends::start(&lab.pods, vec![(address, identity("site", address))])
}

/// Connects with a server name, asks for `/`, and answers the certificate that was shown.
fn shown(lab: &Lab, name: Option<&str>) -> Vec<u8> {
    let mut connection = Connection::tls(&lab.client, HTTPS, name).unwrap_or_else(|e| panic!("TLS as {name:?}: {e:#}"));
    let response = connection.get(name.unwrap_or("site.test"), "/").expect("GET over TLS");
    assert_eq!(response.status, 200, "{response:?}");
    connection.certificate().expect("TLS has a certificate")
}

#[test]
fn exact_before_wildcard_before_default() {
    let (lab, manifests) = (Lab::new(), Scratch::new());
    let (exact, wildcard) = (TestCertificate::new(&["a.site.test"]), TestCertificate::new(&["*.site.test"]));
    let entries = [("*.site.test", "wildcard"), ("a.site.test", "exact"), ("lost.test", "missing")];
    manifests.write("tls.yaml", tls_ingress("tls", &entries));
    manifests.write("secrets.yaml", exact.secret("exact") + &wildcard.secret("wildcard"));
    let _backends = site(&lab, &manifests);
    let agent = Setup::default().start(&lab, manifests.path());

    assert_eq!(shown(&lab, Some("a.site.test")), exact.der);
    assert_eq!(shown(&lab, Some("A.Site.Test")), exact.der, "names are compared without regard to case");
    assert_eq!(shown(&lab, Some("b.site.test")), wildcard.der);
    let default = shown(&lab, Some("other.test"));
    assert!(default != exact.der && default != wildcard.der);
    assert_eq!(shown(&lab, Some("b.a.site.test")), default, "a wildcard is one label");
    assert_eq!(shown(&lab, Some("site.test")), default, "a wildcard is a label, not none");
    assert_eq!(shown(&lab, Some("lost.test")), default, "a Secret that is missing");
    assert_eq!(shown(&lab, None), default, "no server name");
    agent.stop();
}

#[test]
fn a_certificate_is_swapped_without_breaking_an_open_connection() {
    let (lab, manifests) = (Lab::new(), Scratch::new());
    let (old, new) = (TestCertificate::new(&["site.test"]), TestCertificate::new(&["site.test"]));
    manifests.write("tls.yaml", tls_ingress("tls", &[("site.test", "site")]));
    manifests.write("secret.yaml", old.secret("site"));
    let _backends = site(&lab, &manifests);
    let agent = Setup::default().start(&lab, manifests.path());

    let mut open = Connection::tls(&lab.client, HTTPS, Some("site.test")).expect("TLS");
    assert_eq!(open.get("site.test", "/").expect("GET").status, 200);
    assert_eq!(open.certificate(), Some(old.der));
    manifests.replace("secret.yaml", new.secret("site"));
    agent.wait_until("the new certificate is shown", |_| shown(&lab, Some("site.test")) == new.der);
    assert_eq!(open.get("site.test", "/").expect("GET on the open connection").status, 200);

    // A Secret that breaks: the host is served on, with the default certificate.
    manifests.replace("secret.yaml", new.secret("site").replace("tls.key: ", "tls.key: AAAA"));
    agent.wait_until("the default certificate is shown", |_| shown(&lab, Some("site.test")) != new.der);
    assert_eq!(open.get("site.test", "/").expect("GET on the open connection").status, 200);
    let problems = agent.json(&["problems"]).to_string();
    assert!(problems.contains("Secret default/site"), "the broken Secret is named: {problems}");
    agent.stop();
}
