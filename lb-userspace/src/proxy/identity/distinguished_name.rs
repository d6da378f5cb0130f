//! Distinguished names as text (RFC 4514), in the form that nginx and OpenSSL give them (`XN_FLAG_RFC2253`): the last
//! part first, and everything but visible ASCII as `\XX`, so that the text can be the value of a field.
//!
//! Goes in: a name out of a certificate. Comes out: text.

use std::fmt::Write as _;
use x509_parser::asn1_rs::ToDer;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Short names of attributes: those of RFC 4514 section 3, and what OpenSSL calls others that certificates of people
/// and machines have.
const TYPES: [(&str, &str); 15] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
    ("2.5.4.46", "dnQualifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// A name as text.
pub fn text(name: &X509Name<'_>) -> String {
    let parts: Vec<String> =
        name.iter_rdn().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let id = attribute.attr_type().to_id_string();
    match (TYPES.iter().find(|(known, _)| *known == id), attribute.as_str()) {
        (Some((_, name)), Ok(value)) => format!("{name}={}", escaped(value)),
        (known, _) => {
            // Of what cannot be read, the DER (RFC 4514 section 2.4).
            let der = attribute.attr_value().to_der_vec().unwrap_or_default();
            der.iter().fold(format!("{}=#", known.map_or(id.as_str(), |(_, name)| name)), |mut text, byte| {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02X}");
                text
            })
        }
    }
}

fn escaped(value: &str) -> String {
    let last = value.len().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => text.extend(['\\', char::from(byte)]),
            b' ' if at == 0 || at == last => text.push_str("\\ "),
            b'#' if at == 0 => text.push_str("\\#"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};
    use x509_parser::prelude::{FromDer, X509Certificate};

    fn of(parts: &[(DnType, DnValue)]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in parts {
            params.distinguished_name.push(kind.clone(), value.clone());
        }
        let made = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
        let (_, parsed) = X509Certificate::from_der(made.der()).expect("parsed");
        text(parsed.subject())
    }

    #[test]
    fn names_read_as_openssl_writes_them() {
        let utf8 = |text: &str| DnValue::Utf8String(text.to_owned());
        let country = DnValue::PrintableString("DE".try_into().expect("printable"));
        for (parts, want) in [
            (vec![], ""),
            (vec![(DnType::CommonName, utf8("alice"))], "CN=alice"),
            (
                vec![
                    (DnType::CountryName, country),
                    (DnType::OrganizationName, utf8("a, b")),
                    (DnType::CommonName, utf8("x")),
                ],
                "CN=x,O=a\\, b,C=DE",
            ),
            (vec![(DnType::CommonName, utf8(" #a+b\"<>;\\ "))], "CN=\\ #a\\+b\\\"\\<\\>\\;\\\\\\ "),
            (vec![(DnType::CommonName, utf8("#1"))], "CN=\\#1"),
            (vec![(DnType::CommonName, utf8("é\r\nHost: evil"))], "CN=\\C3\\A9\\0D\\0AHost: evil"),
            (vec![(DnType::CustomDnType(vec![1, 2, 3, 4]), utf8("x"))], "1.2.3.4=#0C0178"),
            (vec![(DnType::CustomDnType(vec![2, 5, 4, 5]), utf8("42"))], "serialNumber=42"),
        ] {
            assert_eq!(of(&parts), want);
        }
    }
}
