//! `auth-tls-secret` and `auth-tls-verify-client`: clients show a certificate. Whatever of it cannot be done, closes.

use super::super::super::reason;
use super::reader::Reader;
use super::{Draft, Family, secret};
use lb_core::model::ClientAuth;

pub(super) const FAMILY: Family = Family { keys: &[SECRET, VERIFY], read };

const SECRET: &str = "auth-tls-secret";
const VERIFY: &str = "auth-tls-verify-client";

fn read(reader: &Reader<'_, '_>, draft: &mut Draft) {
    let required = match reader.get(VERIFY).map(|given| (given, given.text)) {
        None | Some((_, "on")) => true,
        Some((_, "optional")) => false,
        Some((_, "off")) => return,
        Some((given, "optional_no_ca")) => {
            let why = "certificates of unknown authorities cannot be passed on by this version".to_owned();
            return reader.close(given, reason::PROTECTION_UNSUPPORTED, why, "Write on, optional or off.");
        }
        Some((given, other)) => {
            let why = format!("{other:?} says nothing of client certificates");
            return reader.close(given, reason::INVALID_ANNOTATION, why, "Write on, optional or off.");
        }
    };
    let Some(given) = reader.get(SECRET) else {
        let Some(given) = reader.get(VERIFY) else { return };
        let why = "there is no authority to verify clients by".to_owned();
        let remedy = "Name a Secret with ca.crt in auth-tls-secret.";
        return reader.close(given, reason::AUTHORITY_MISSING, why, remedy);
    };
    let found = secret::name(reader.object, given.text).and_then(|named| secret::authorities(reader.store, &named));
    match found {
        Ok(authorities) => draft.client_auth = Some(ClientAuth { authorities, required }),
        Err(refused) => reader.close(given, refused.reason, refused.why, refused.remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::trial_nginx;

    /// Secrets are data: `tests/data/translate/client-auth*.yaml`.
    #[test]
    fn whatever_cannot_be_done_closes() {
        let check = |annotations: &[(&str, &str)], problems_want: &[&str]| {
            let (settings, problems) = trial_nginx(annotations);
            assert_eq!((settings.closed.is_some(), settings.client_auth), (!problems_want.is_empty(), None));
            assert_eq!(problems, problems_want, "{annotations:?}");
        };
        check(&[("auth-tls-verify-client", "off")], &[]);
        check(&[("auth-tls-verify-client", "off"), ("auth-tls-secret", "default/none")], &[]);
        check(&[("auth-tls-verify-client", "on")], &["AuthorityMissing"]);
        check(&[("auth-tls-verify-client", "optional_no_ca")], &["ProtectionUnsupported"]);
        check(&[("auth-tls-verify-client", "true")], &["InvalidAnnotation"]);
        check(&[("auth-tls-secret", "default/none")], &["SecretMissing"]);
        check(&[("auth-tls-secret", "other/ca")], &["OtherNamespace"]);
        check(&[("auth-tls-secret", "")], &["InvalidAnnotation"]);
    }
}
