//! `proxy-ssl-*`: whether endpoints are verified, by whom and as whom, and what we show them. Only where TLS is spoken.
//!
//! Who asks for verification that cannot be done is closed, rather than sent to an endpoint that anybody may be.

use super::super::super::reason;
use super::reader::Reader;
use super::value::{self, Invalid};
use super::{Draft, Family, secret};
use lb_core::model::{HostPattern, UpstreamTls};
use std::net::IpAddr;
use std::sync::Arc;

pub(super) const FAMILY: Family = Family { keys: &[VERIFY, SECRET, "proxy-ssl-name", "proxy-ssl-server-name"], read };

const VERIFY: &str = "proxy-ssl-verify";
const SECRET: &str = "proxy-ssl-secret";

fn read(reader: &Reader<'_, '_>, draft: &mut Draft) {
    let Some(tls) = &mut draft.tls else {
        if let Some(given) = FAMILY.keys.iter().find_map(|key| reader.get(key)) {
            let message = "The annotation does nothing, as TLS is not spoken to the backend.";
            reader.note(given, message, "Set backend-protocol to HTTPS or GRPCS, or remove it.");
        }
        return;
    };
    tls.send_name = reader.read("proxy-ssl-server-name", value::switch).unwrap_or(false);
    tls.name = reader.read("proxy-ssl-name", server_name);
    let verify = verify(reader);
    read_secret(reader, verify, tls);
}

/// Whether the endpoint is verified. What cannot be read was meant to protect, so it closes.
fn verify(reader: &Reader<'_, '_>) -> bool {
    let Some(given) = reader.get(VERIFY) else { return false };
    value::switch(given.text).unwrap_or_else(|invalid| {
        reader.close(given, reason::INVALID_ANNOTATION, invalid.why, invalid.remedy);
        true
    })
}

fn read_secret(reader: &Reader<'_, '_>, verify: bool, tls: &mut UpstreamTls) {
    let Some(given) = reader.get(SECRET) else {
        if let Some(given) = reader.get(VERIFY).filter(|_| verify) {
            let why = "there is no authority to verify the backend by".to_owned();
            let remedy = "Name a Secret with ca.crt in proxy-ssl-secret.";
            reader.close(given, reason::AUTHORITY_MISSING, why, remedy);
        }
        return;
    };
    let close = |refused: secret::Refused| reader.close(given, refused.reason, refused.why, refused.remedy);
    let named = match secret::name(reader.object, given.text) {
        Ok(named) => named,
        Err(refused) => return close(refused),
    };
    match secret::certificate(reader.store, &named) {
        Ok(certificate) => tls.certificate = certificate,
        Err(refused) => return close(refused),
    }
    if verify {
        match secret::authorities(reader.store, &named) {
            Ok(authorities) => tls.authorities = Some(authorities),
            Err(refused) => close(refused),
        }
    }
}

/// A DNS name or an address, as certificates have them.
fn server_name(text: &str) -> Result<Arc<str>, Invalid> {
    let name = match HostPattern::parse(text) {
        Ok(HostPattern::Exact(name)) => Some(name),
        _ => text.parse::<IpAddr>().ok().map(|address| address.to_string().into()),
    };
    name.ok_or_else(|| Invalid::new(format!("{text:?} is no name of a server"), "Write a DNS name."))
}

#[cfg(test)]
mod tests {
    use super::super::trial::trial_nginx;

    /// Secrets are data: `tests/data/translate/upstream-tls*.yaml`.
    #[test]
    fn without_a_secret() {
        let check = |annotations: &[(&str, &str)],
                     want: &str,
                     send_name: bool,
                     closed: bool,
                     problems_want: &[&str]| {
            let (settings, problems) = trial_nginx(annotations);
            assert_eq!(settings.upstream.to_string(), want, "{annotations:?}");
            assert_eq!(settings.upstream.tls.as_ref().is_some_and(|tls| tls.send_name), send_name, "{annotations:?}");
            assert_eq!((settings.closed.is_some(), &problems[..]), (closed, problems_want), "{annotations:?}");
        };
        let https = ("backend-protocol", "HTTPS");
        let plain = "HTTP/1.1 over TLS (not verified)";
        check(&[https, ("proxy-ssl-verify", "off")], plain, false, false, &[]);
        check(&[https, ("proxy-ssl-verify", "on")], plain, false, true, &["AuthorityMissing"]);
        check(&[https, ("proxy-ssl-verify", "yes")], plain, false, true, &["AuthorityMissing", "InvalidAnnotation"]);
        check(&[https, ("proxy-ssl-server-name", "on")], plain, true, false, &[]);
        let named = "HTTP/1.1 over TLS (not verified, as api.shop)";
        check(&[https, ("proxy-ssl-name", "API.shop")], named, false, false, &[]);
        check(&[https, ("proxy-ssl-name", "*.shop")], plain, false, false, &["InvalidAnnotation"]);
        check(&[https, ("proxy-ssl-secret", "default/none")], plain, false, true, &["SecretMissing"]);
        check(&[https, ("proxy-ssl-secret", "other/ca")], plain, false, true, &["OtherNamespace"]);
        check(&[("proxy-ssl-verify", "on")], "HTTP/1.1", false, false, &["UselessAnnotation"]);
    }
}
