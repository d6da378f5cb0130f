//! Host names: their normal form, patterns, and the certificate of a server name (TLS itself is read by rustls). The table
//! gives what a plain look at all patterns gives, and no name but its own and those one label below a wildcard.

use crate::bytes::Bytes;
use lb_core::model::certificate::{Certificate, CertificateTable, PrivateKey};
use lb_core::model::host;
use lb_core::model::{HostPattern, Kind, ObjectRef};
use std::sync::Arc;

/// Patterns of one table.
const PATTERNS_MAX: usize = 8;

/// The target.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let asked = bytes.text();
    let name = host::normalize(&asked);
    assert!(!name.bytes().any(|b| b.is_ascii_uppercase()), "{name:?}");
    let (mut table, mut patterns) = (CertificateTable::default(), Vec::new());
    while !bytes.is_empty() && patterns.len() < PATTERNS_MAX {
        let text = bytes.text();
        let Ok(pattern) = HostPattern::parse(&text) else { continue };
        let shown = pattern.to_string();
        if pattern != HostPattern::Any {
            assert_eq!(HostPattern::parse(&shown).as_ref(), Ok(&pattern), "{text:?}");
            assert_eq!(host::normalize(&shown), shown, "a pattern is in normal form");
        }
        let certificate = Arc::new(certificate(patterns.len()));
        table.insert(&pattern, certificate.clone());
        patterns.push((pattern, certificate));
    }
    assert_eq!(table.find(&name), plain(&patterns, &name), "{name:?} among {patterns:?}");
}

/// The first pattern that is the name, else the first wildcard that covers it.
fn plain<'a>(patterns: &'a [(HostPattern, Arc<Certificate>)], name: &str) -> Option<&'a Arc<Certificate>> {
    let exact = |pattern: &HostPattern| matches!(pattern, HostPattern::Exact(n) if **n == *name);
    let below = |pattern: &HostPattern| match pattern {
        HostPattern::Wildcard(suffix) => name
            .strip_suffix(&**suffix)
            .and_then(|rest| rest.strip_suffix('.'))
            .is_some_and(|l| !l.is_empty() && !l.contains('.')),
        HostPattern::Exact(_) | HostPattern::Any => false,
    };
    let first = |wanted: &dyn Fn(&HostPattern) -> bool| patterns.iter().find(|(pattern, _)| wanted(pattern));
    first(&exact).or_else(|| first(&below)).map(|(_, certificate)| certificate)
}

fn certificate(number: usize) -> Certificate {
    Certificate {
        source: ObjectRef::new(Kind::Secret, "n", number.to_string()),
        chain: Vec::new(),
        key: PrivateKey::Pkcs8(Vec::new()),
        names: Vec::new(),
        not_before_s: 0,
        not_after_s: 0,
        fingerprint: String::new(),
    }
}
