//! Who a client is by the certificate that it showed, judged once a connection, for hosts that ask for one.
//!
//! Goes in: what the host asks ([`Asking`]) and the chain of the handshake. Comes out: an [`Identity`] with the fields
//! that endpoints are told. Does not decide about requests: that is [`super::admission`].

mod distinguished_name;

use super::tls::Asking;
use lb_core::model::ClientAuth;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Longest name of a subject or issuer that is passed on, bytes: most servers take fields of 8 KB.
const NAME_BYTES_MAX: usize = 4_096;

/// A client of a host that asks for a certificate.
#[derive(Debug)]
pub struct Identity {
    /// What was asked in the handshake.
    pub asked: Arc<ClientAuth>,
    /// What was shown.
    pub shown: Shown,
}

/// What a client showed.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    /// No certificate.
    Nothing,
    /// One that is not believed, and why.
    Invalid(String),
    /// One that is believed: what endpoints are told, as field lines.
    Valid(Box<[u8]>),
}

/// What endpoints are told of a client without a certificate, where that is allowed.
pub const NOTHING: &[u8] = b"ssl-client-verify: NONE\r\n";

impl Identity {
    /// Judges what was shown in a handshake, resumed or not.
    pub fn judge(asking: &Asking, chain: Option<&[CertificateDer<'_>]>, now: UnixTime) -> Self {
        let shown = match chain.filter(|chain| !chain.is_empty()) {
            None => Shown::Nothing,
            Some(chain) => match asking.judge(chain, now).and_then(|()| lines(chain)) {
                Ok(lines) => Shown::Valid(lines),
                Err(why) => Shown::Invalid(why),
            },
        };
        Self { asked: asking.auth.clone(), shown }
    }
}

fn lines(chain: &[CertificateDer<'_>]) -> Result<Box<[u8]>, String> {
    let leaf = chain.first().ok_or("the chain is empty")?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
    let (subject, issuer) = (distinguished_name::text(leaf.subject()), distinguished_name::text(leaf.issuer()));
    if subject.len().max(issuer.len()) > NAME_BYTES_MAX {
        return Err(format!("its names are longer than {NAME_BYTES_MAX} bytes"));
    }
    let text =
        format!("ssl-client-verify: SUCCESS\r\nssl-client-subject-dn: {subject}\r\nssl-client-issuer-dn: {issuer}\r\n");
    Ok(text.into_bytes().into())
}
