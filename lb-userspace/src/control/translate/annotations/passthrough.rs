//! `ssl-passthrough`, and our own `sluice.dev/tls`, which wins: TLS goes to the backend as it is.
//!
//! Whoever asks for it does not want TLS to end here. So a value that cannot be read closes the Ingress, as does a wish
//! that only TLS which ends here could grant. Whether a host can be passed through is decided with all its Ingresses.

use super::super::super::reason;
use super::reader::Reader;
use super::value::{self, Invalid};
use super::{Draft, Family};

pub(super) const FAMILY: Family = Family { keys: &[NGINX, OWN], read };

const NGINX: &str = "ssl-passthrough";
const NGINX_WHOLE: &str = "nginx.ingress.kubernetes.io/ssl-passthrough";
const OWN: &str = "sluice.dev/tls";

fn read(reader: &Reader<'_, '_>, draft: &mut Draft) {
    let (name, whole, wanted) = match (reader.get(OWN), reader.get(NGINX)) {
        (Some(own), nginx) => {
            if let Some(nginx) = nginx {
                reader.note(
                    nginx,
                    "sluice.dev/tls is there, so this annotation is not looked at.",
                    "Remove one of them.",
                );
            }
            (OWN, OWN, place(own.text))
        }
        // ingress-nginx takes an empty value for none.
        (None, Some(nginx)) if nginx.text.is_empty() => return,
        (None, Some(nginx)) => (NGINX, NGINX_WHOLE, value::boolean(nginx.text)),
        (None, None) => return,
    };
    let Some(given) = reader.get(name) else { return };
    match wanted {
        Err(invalid) => reader.close(given, reason::INVALID_ANNOTATION, invalid.why, invalid.remedy),
        Ok(false) => {}
        Ok(true) if draft.client_auth.is_some() => {
            let why = "auth-tls-secret wants TLS to end here, and TLS passes through".to_owned();
            let remedy = "Let the backend ask for client certificates, or let TLS end here.";
            reader.close(given, reason::PASSTHROUGH_REFUSED, why, remedy);
        }
        Ok(true) => draft.passthrough = Some(whole),
    }
}

/// Whether TLS ends elsewhere.
fn place(text: &str) -> Result<bool, Invalid> {
    match text {
        "passthrough" => Ok(true),
        "terminate" => Ok(false),
        _ => Err(Invalid::new(
            format!("{text:?} says nothing of where TLS ends"),
            "Write \"passthrough\" or \"terminate\".",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::trial;
    use super::{NGINX_WHOLE, OWN};

    #[test]
    fn where_tls_ends() {
        let check = |annotations: &[(&str, &str)], want: Option<&str>, problems_want: &[&str]| {
            let (settings, problems) = trial(annotations);
            assert_eq!(settings.passthrough, want, "{annotations:?}");
            assert_eq!(problems, problems_want, "{annotations:?}");
            let closed = problems_want.contains(&"InvalidAnnotation");
            assert_eq!(settings.closed.is_some(), closed, "{annotations:?}");
        };
        check(&[(NGINX_WHOLE, "true")], Some(NGINX_WHOLE), &[]);
        check(&[(NGINX_WHOLE, "false")], None, &[]);
        check(&[(NGINX_WHOLE, "")], None, &[]);
        check(&[(NGINX_WHOLE, "yes")], None, &["InvalidAnnotation"]);
        check(&[(OWN, "passthrough")], Some(OWN), &[]);
        check(&[(OWN, "terminate")], None, &[]);
        check(&[(OWN, "true")], None, &["InvalidAnnotation"]);
        check(&[(OWN, "")], None, &["InvalidAnnotation"]);
        check(&[(NGINX_WHOLE, "true"), (OWN, "terminate")], None, &["UselessAnnotation"]);
        check(&[(NGINX_WHOLE, "false"), (OWN, "passthrough")], Some(OWN), &["UselessAnnotation"]);
    }
}
