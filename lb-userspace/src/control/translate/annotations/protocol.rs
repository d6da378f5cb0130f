//! `backend-protocol`: what is spoken to endpoints. HTTPS and GRPCS verify nothing unless `proxy-ssl-verify` says so.

use super::super::super::reason;
use super::reader::Reader;
use super::{Draft, Family};
use lb_core::model::UpstreamTls;
use lb_core::model::upstream::Protocol;

pub(super) const FAMILY: Family = Family { keys: &["backend-protocol"], read };

fn read(reader: &Reader<'_, '_>, draft: &mut Draft) {
    let Some(given) = reader.get("backend-protocol") else { return };
    let (protocol, tls) = match given.text.to_ascii_uppercase().as_str() {
        "HTTP" => (Protocol::Http1, false),
        "HTTPS" => (Protocol::Http1, true),
        "GRPC" => (Protocol::Http2, false),
        "GRPCS" => (Protocol::Http2, true),
        "AUTO_HTTP" => {
            draft.tls_as_client = true;
            (Protocol::Http1, true)
        }
        "FCGI" => {
            let why = "FastCGI is not spoken by this version".to_owned();
            let remedy = "Put a server that speaks HTTP before the FastCGI one.";
            return reader.close(given, reason::PROTOCOL_UNSUPPORTED, why, remedy);
        }
        _ => {
            let remedy = "Write HTTP, HTTPS, GRPC, GRPCS or AUTO_HTTP.";
            return reader.invalid(given, &format!("{:?} is no protocol", given.text), remedy);
        }
    };
    draft.protocol = protocol;
    draft.tls = tls.then(UpstreamTls::default);
}

#[cfg(test)]
mod tests {
    use super::super::trial::trial_nginx;

    #[test]
    fn protocols() {
        let check = |text: &str, want: &str, in_clear: Option<&str>, problems_want: &[&str]| {
            let (settings, problems) = trial_nginx(&[("backend-protocol", text)]);
            assert_eq!(settings.upstream.to_string(), want, "{text}");
            assert_eq!(settings.upstream_in_clear.map(|u| u.to_string()).as_deref(), in_clear, "{text}");
            assert_eq!(settings.closed.is_some(), text == "FCGI");
            assert_eq!(problems, problems_want, "{text}");
        };
        check("HTTP", "HTTP/1.1", None, &[]);
        check("https", "HTTP/1.1 over TLS (not verified)", None, &[]);
        check("GRPC", "HTTP/2", None, &[]);
        check("GRPCS", "HTTP/2 over TLS (not verified)", None, &[]);
        check("AUTO_HTTP", "HTTP/1.1 over TLS (not verified)", Some("HTTP/1.1"), &[]);
        check("FCGI", "HTTP/1.1", None, &["ProtocolUnsupported"]);
        check("AJP", "HTTP/1.1", None, &["InvalidAnnotation"]);
        check("", "HTTP/1.1", None, &["InvalidAnnotation"]);
    }
}
