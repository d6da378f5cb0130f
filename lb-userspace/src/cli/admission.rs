//! Flags of the validating webhook.
//!
//! Goes in: arguments. Comes out: an [`Admission`], or none; every fault is listed. Does not read the files: a certificate
//! may come later than the agent, which serves without it.

use crate::config::{Admission, Source};
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A validating webhook for Ingresses.
#[derive(Debug, Args)]
#[command(next_help_heading = "Admission")]
pub struct AdmissionArgs {
    /// Address and port where an API server asks about Ingresses before it takes them, by HTTPS: POST /validate. Default:
    /// nowhere. Needs --cluster.
    #[arg(long, env = "SLUICE_ADMISSION", value_name = "ADDR:PORT")]
    admission: Option<SocketAddr>,
    /// PEM file with the certificate that is shown there, and those that signed it. Read again every 10 seconds; while it is
    /// absent or broken the last good one is shown.
    #[arg(long, env = "SLUICE_ADMISSION_CERTIFICATE", value_name = "FILE")]
    admission_certificate: Option<PathBuf>,
    /// PEM file with its private key.
    #[arg(long, env = "SLUICE_ADMISSION_KEY", value_name = "FILE")]
    admission_key: Option<PathBuf>,
}

impl AdmissionArgs {
    /// The address, if one is given.
    pub fn address(&self) -> Option<SocketAddr> {
        self.admission
    }

    /// Checks everything. `taken` are other addresses of ours. What is wrong is added to `faults`.
    pub fn admission(&self, source: &Source, taken: &[SocketAddr], faults: &mut Vec<String>) -> Option<Admission> {
        let files = (self.admission_certificate.clone(), self.admission_key.clone());
        let Some(address) = self.admission else {
            if files != (None, None) {
                faults.push(
                    "--admission-certificate and --admission-key are for --admission: name its address".to_owned(),
                );
            }
            return None;
        };
        if !matches!(source, Source::Cluster(_)) {
            faults.push(
                "--admission needs --cluster: nothing asks before a file is written; use sluice check".to_owned(),
            );
        }
        if address.port() == 0 {
            faults.push(format!("--admission {address}: port 0 is no port that an API server can use; name one"));
        }
        if taken.contains(&address) {
            faults.push(format!("--admission {address} is in use by another flag: give it an address of its own"));
        }
        let (Some(certificate), Some(key)) = files else {
            faults.push(
                "--admission needs --admission-certificate and --admission-key: it is served by HTTPS".to_owned(),
            );
            return None;
        };
        Some(Admission { address, certificate, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Cluster;
    use clap::Parser;

    #[derive(Parser)]
    struct Just {
        #[command(flatten)]
        admission: AdmissionArgs,
    }

    fn parse(source: &Source, arguments: &[&str]) -> (Option<Admission>, Vec<String>) {
        let args = Just::try_parse_from(["run"].iter().chain(arguments)).expect("arguments parse").admission;
        let mut faults = Vec::new();
        let taken = "127.0.0.1:9180".parse().expect("an address");
        (args.admission(source, &[taken], &mut faults), faults)
    }

    #[test]
    fn it_is_off_or_whole() {
        let cluster = Source::Cluster(Cluster::default());
        assert_eq!(parse(&cluster, &[]), (None, Vec::new()));
        let files = ["--admission-certificate=/a/tls.crt", "--admission-key=/a/tls.key"];
        let check = |source: &Source, arguments: &[&str], want: &[&str]| {
            let (_, faults) = parse(source, arguments);
            assert_eq!(faults.len(), want.len(), "{arguments:?}: {faults:?}");
            assert!(faults.iter().zip(want).all(|(fault, part)| fault.contains(part)), "{arguments:?}: {faults:?}");
        };
        let (admission, faults) = parse(&cluster, &["--admission=0.0.0.0:9443", files[0], files[1]]);
        let (address, certificate) = ("0.0.0.0:9443".parse().expect("an address"), "/a/tls.crt".into());
        assert_eq!(admission, Some(Admission { address, certificate, key: "/a/tls.key".into() }));
        assert!(faults.is_empty(), "{faults:?}");
        check(&cluster, &files, &["are for --admission"]);
        check(&cluster, &["--admission=0.0.0.0:9443"], &["needs --admission-certificate"]);
        check(&cluster, &["--admission=0.0.0.0:0", files[0]], &["port 0", "needs --admission-certificate"]);
        check(&cluster, &["--admission=127.0.0.1:9180", files[0], files[1]], &["another flag"]);
        let directory = Source::Directory("/tmp".into());
        check(&directory, &["--admission=0.0.0.0:9443", files[0], files[1]], &["needs --cluster"]);
    }
}
