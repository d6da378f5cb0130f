//! The certificate of the webhook: two PEM files that are read again, for a Secret's are replaced while it is mounted.
//!
//! Goes in: paths. Comes out: what TLS shows. Absent or broken files leave what was shown before, and are told once. Does
//! not judge names or times: the API server does.

use crate::config;
use arc_swap::ArcSwapOption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest file that is read, bytes.
const FILE_BYTES_MAX: u64 = 128 * 1024;

/// What TLS shows; nothing until there is a certificate.
#[derive(Debug, Default)]
pub struct Shown(ArcSwapOption<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// The two files, as they were when they were last looked at.
type Seen = Result<(Vec<u8>, Vec<u8>), String>;

/// The files.
#[derive(Debug)]
pub struct Files {
    certificate: PathBuf,
    key: PathBuf,
    seen: Option<Seen>,
    shown: Arc<Shown>,
}

/// What looking at the files came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// They are as before.
    Same,
    /// They are shown from now on.
    New,
    /// They are absent or broken; what was shown before still is.
    Broken(String),
}

impl Files {
    /// The files of these settings. They are looked at when [`Self::look`] is called.
    #[must_use]
    pub fn new(settings: &config::Admission) -> Self {
        let (certificate, key) = (settings.certificate.clone(), settings.key.clone());
        Self { certificate, key, seen: None, shown: Arc::default() }
    }

    /// What TLS shows.
    #[must_use]
    pub fn shown(&self) -> Arc<Shown> {
        self.shown.clone()
    }

    /// Reads the files again.
    pub fn look(&mut self) -> Look {
        let now = read(&self.certificate).and_then(|certificate| Ok((certificate, read(&self.key)?)));
        if self.seen.as_ref() == Some(&now) {
            return Look::Same;
        }
        let made = now.as_ref().map_err(Clone::clone).and_then(|(certificate, key)| self.certified(certificate, key));
        self.seen = Some(now);
        match made {
            Ok(made) => {
                self.shown.0.store(Some(Arc::new(made)));
                Look::New
            }
            Err(why) => Look::Broken(why),
        }
    }

    fn certified(&self, certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, String> {
        let (of, with) = (self.certificate.display(), self.key.display());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.map_err(|error| format!("{of} is not PEM: {error}"))?;
        if chain.is_empty() {
            return Err(format!("{of} has no certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("{with} has no private key: {error}"))?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|error| format!("{of} and {with} do not work together: {error}"))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    file.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{} has more than {FILE_BYTES_MAX} bytes", path.display()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_file_keeps_the_last_good_one() {
        let root = tempfile::tempdir().expect("a directory");
        let path = |name: &str| root.path().join(name);
        let address = "127.0.0.1:9443".parse().expect("an address");
        let mut files = Files::new(&config::Admission { address, certificate: path("crt"), key: path("key") });
        let made = || rcgen::generate_simple_self_signed(["a.svc".to_owned()]).expect("a certificate");
        let (one, two) = (made(), made());
        let put = |name: &str, text: &str| std::fs::write(path(name), text).expect("written");
        let leaf = |files: &Files| files.shown.0.load_full().map(|key| key.cert[0].to_vec());
        let broken = |look: Look, part: &str| {
            assert!(matches!(&look, Look::Broken(why) if why.contains(part)), "{part} in {look:?}");
        };
        broken(files.look(), "cannot be read");
        assert_eq!((files.look(), leaf(&files)), (Look::Same, None), "told once");
        put("crt", &one.cert.pem());
        put("key", &one.signing_key.serialize_pem());
        assert_eq!((files.look(), files.look()), (Look::New, Look::Same));
        let held = Some(one.cert.der().to_vec());
        assert_eq!(leaf(&files), held);
        put("crt", &two.cert.pem());
        broken(files.look(), "do not work together");
        put("crt", "nothing");
        broken(files.look(), "no certificate");
        put("crt", &"x".repeat(200_000));
        broken(files.look(), "more than");
        assert_eq!(leaf(&files), held);
        put("crt", &two.cert.pem());
        put("key", &two.signing_key.serialize_pem());
        assert_eq!(files.look(), Look::New);
        assert_eq!(leaf(&files), Some(two.cert.der().to_vec()));
    }
}
