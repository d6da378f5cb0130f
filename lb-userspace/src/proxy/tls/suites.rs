//! Cipher suites by their names in the IANA registry ("TLS Cipher Suites").
//!
//! Goes in: names, in order of preference. Comes out: the cryptographic provider of all TLS that ends here. Its key
//! exchanges begin with X25519MLKEM768, which is safe from quantum computers; the client's order decides, and all that
//! know it have it first.

use crate::config::TlsVersion;
use rustls::SupportedCipherSuite;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// A name that is not one of [`suite_names`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no cipher suite {0}: name one of {known}", known = join(suite_names()))]
pub struct UnknownSuite(pub String);

/// Every cipher suite that can be named, the preferred first, with the version of TLS that it belongs to.
pub fn suite_names() -> impl Iterator<Item = (String, TlsVersion)> {
    aws_lc_rs::ALL_CIPHER_SUITES.iter().map(|suite| (name(*suite), version(*suite)))
}

/// The provider with these suites, in this order; with all where none is named.
///
/// # Errors
/// [`UnknownSuite`], for the first name that is not known.
pub fn provider(names: &[String]) -> Result<CryptoProvider, UnknownSuite> {
    let mut provider = aws_lc_rs::default_provider();
    if !names.is_empty() {
        let find = |wanted: &String| {
            let known = aws_lc_rs::ALL_CIPHER_SUITES.iter().find(|suite| name(**suite) == *wanted);
            known.copied().ok_or_else(|| UnknownSuite(wanted.clone()))
        };
        provider.cipher_suites = names.iter().map(find).collect::<Result<_, _>>()?;
    }
    Ok(provider)
}

/// rustls says `TLS13_` where the registry says `TLS_`.
fn name(suite: SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    name.strip_prefix("TLS13_").map_or_else(|| name.to_owned(), |rest| format!("TLS_{rest}"))
}

fn version(suite: SupportedCipherSuite) -> TlsVersion {
    if suite.tls13().is_some() { TlsVersion::Tls13 } else { TlsVersion::Tls12 }
}

fn join(names: impl Iterator<Item = (String, TlsVersion)>) -> String {
    names.map(|(name, _)| name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_registry() {
        let names: Vec<String> = suite_names().map(|(name, _)| name).collect();
        for name in ["TLS_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"] {
            assert!(names.contains(&name.to_owned()), "{name} in {names:?}");
        }
        let order = |names: &[String]| provider(names).expect("known").cipher_suites.iter().map(|s| name(*s)).collect();
        let reversed: Vec<String> = names.iter().rev().cloned().collect();
        let got: Vec<String> = order(&reversed);
        assert_eq!(got, reversed);
        let error = provider(&["DES".to_owned()]).expect_err("unknown").to_string();
        assert!(error.contains("DES") && error.contains("TLS_AES_256_GCM_SHA384"), "{error}");
    }
}
