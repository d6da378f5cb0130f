//! Secrets that annotations name: certificate authorities and client certificates. Those of other namespaces are denied.

use super::super::super::reason;
use super::super::super::store::Store;
use super::super::tls::InvalidSecret;
use super::NGINX;
use lb_core::model::{Authorities, Certificate, Kind, ObjectRef};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The annotations of ingress-nginx that name a Secret, without prefix.
const NAMES: [&str; 2] = ["auth-tls-secret", "proxy-ssl-secret"];

/// The Secrets that annotations of an Ingress name, so far as it may use them.
pub fn named(owner: &ObjectRef, annotations: &BTreeMap<String, String>) -> impl Iterator<Item = ObjectRef> {
    let text = |name| annotations.get(&format!("{NGINX}{name}"));
    NAMES.into_iter().filter_map(text).filter_map(|text| name(owner, text).ok())
}

/// Why a Secret cannot be used.
#[derive(Debug)]
pub struct Refused {
    /// In one word.
    pub reason: &'static str,
    /// A sentence without its stop.
    pub why: String,
    /// What to do.
    pub remedy: &'static str,
}

/// The Secret that `text` (`name` or `namespace/name`) names for an Ingress.
///
/// # Errors
/// [`Refused`], when it is no such name, or of another namespace than the Ingress.
pub fn name(owner: &ObjectRef, text: &str) -> Result<ObjectRef, Refused> {
    let (namespace, name) = text.split_once('/').unwrap_or((&owner.namespace, text));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    if !plain(namespace) || !plain(name) {
        return Err(Refused {
            reason: reason::INVALID_ANNOTATION,
            why: format!("{text:?} is no name of a Secret"),
            remedy: "Write namespace/name.",
        });
    }
    if *namespace != *owner.namespace {
        return Err(Refused {
            reason: reason::OTHER_NAMESPACE,
            why: format!("Secret {text} is of another namespace than the Ingress"),
            remedy: "Copy the Secret into the namespace of the Ingress.",
        });
    }
    Ok(ObjectRef::new(Kind::Secret, owner.namespace.clone(), name))
}

/// The authorities in `ca.crt` of a Secret.
///
/// # Errors
/// [`Refused`], when there are none that can be used.
pub fn authorities(store: &Store, secret: &ObjectRef) -> Result<Arc<Authorities>, Refused> {
    match store.authorities(secret) {
        Some(Ok(authorities)) => Ok(authorities.clone()),
        Some(Err(error)) => Err(broken(secret, error, "Put certificates of authorities in PEM into ca.crt.")),
        None => Err(missing(secret)),
    }
}

/// The certificate in `tls.crt` and `tls.key` of a Secret; `None`, when it has neither.
///
/// # Errors
/// [`Refused`], when they cannot be used.
pub fn certificate(store: &Store, secret: &ObjectRef) -> Result<Option<Arc<Certificate>>, Refused> {
    match store.certificate(secret) {
        Some(Ok(certificate)) => Ok(Some(certificate.clone())),
        Some(Err(InvalidSecret::Absent("tls.crt"))) => Ok(None),
        Some(Err(error)) => {
            Err(broken(secret, error, "Put a certificate chain into tls.crt and its key into tls.key."))
        }
        None => Err(missing(secret)),
    }
}

fn missing(secret: &ObjectRef) -> Refused {
    let remedy = "Create it, or correct the name.";
    Refused { reason: reason::SECRET_MISSING, why: format!("{secret} does not exist"), remedy }
}

fn broken(secret: &ObjectRef, error: &InvalidSecret, remedy: &'static str) -> Refused {
    Refused { reason: reason::INVALID_CERTIFICATE, why: format!("{secret} {error}"), remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let owner = ObjectRef::new(Kind::Ingress, "shop", "cart");
        let check = |text: &str, want: Result<&str, &str>| {
            let got = name(&owner, text).map(|secret| secret.to_string()).map_err(|refused| refused.reason);
            assert_eq!(got.as_deref().map_err(|r| *r), want, "{text}");
        };
        check("shop/ca", Ok("Secret shop/ca"));
        check("ca", Ok("Secret shop/ca"));
        check("other/ca", Err(reason::OTHER_NAMESPACE));
        for text in ["", "/", "shop/", "/ca", "a/b/c", "shop/ca "] {
            check(text, Err(reason::INVALID_ANNOTATION));
        }
    }
}
