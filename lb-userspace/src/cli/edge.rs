//! Flags of what faces clients besides addresses: TLS that ends here, HSTS, and balancers in front.
//!
//! Goes in: arguments. Comes out: [`Tls`], and the networks whose PROXY protocol header is believed; every fault is listed.

use crate::config::{Hsts, Tls, TlsVersion};
use crate::proxy::suite_names;
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use std::net::IpAddr;

/// Longest memory of HSTS, seconds: a hundred years.
const HSTS_MAX_AGE_S_MAX: u64 = 3_153_600_000;
/// Shortest that the preload list of browsers takes, seconds: a year (hstspreload.org).
const PRELOAD_MAX_AGE_S_MIN: u64 = 31_536_000;

/// A switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// What faces clients.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS and clients")]
pub struct EdgeArgs {
    /// Lowest version of TLS.
    #[arg(long, env = "SLUICE_TLS_MIN_VERSION", value_enum, default_value = "1.2")]
    tls_min_version: TlsVersion,
    /// Cipher suites by their IANA names, in order of preference, separated by commas. Default: all that the library
    /// holds safe, in the client's order.
    #[arg(long, env = "SLUICE_TLS_CIPHERS", value_name = "NAMES", value_delimiter = ',')]
    tls_ciphers: Vec<String>,
    /// Send Strict-Transport-Security over TLS, for hosts that have a certificate.
    #[arg(long, env = "SLUICE_HSTS", value_enum, default_value = "on")]
    hsts: Switch,
    /// How long browsers remember it, seconds. 0 makes them forget.
    #[arg(long, env = "SLUICE_HSTS_MAX_AGE", value_name = "SECONDS", default_value_t = 31_536_000)]
    hsts_max_age: u64,
    /// It covers the names below the host.
    #[arg(long, env = "SLUICE_HSTS_INCLUDE_SUBDOMAINS", value_enum, default_value = "on")]
    hsts_include_subdomains: Switch,
    /// Browsers may put the host into their preload lists.
    #[arg(long, env = "SLUICE_HSTS_PRELOAD", value_enum, default_value = "off")]
    hsts_preload: Switch,
    /// Network of balancers in front, whose connections must begin with a PROXY protocol header (v1 or v2); nobody else is
    /// believed. May be given several times, or separated by commas.
    #[arg(long, env = "SLUICE_PROXY_PROTOCOL_FROM", value_name = "CIDR", value_delimiter = ',')]
    proxy_protocol_from: Vec<String>,
}

impl EdgeArgs {
    /// TLS that ends here. What is wrong is added to `faults`.
    pub fn tls(&self, faults: &mut Vec<String>) -> Tls {
        self.check_suites(faults);
        let on = |switch| switch == Switch::On;
        let (max_age_s, subdomains, preload) =
            (self.hsts_max_age, on(self.hsts_include_subdomains), on(self.hsts_preload));
        if max_age_s > HSTS_MAX_AGE_S_MAX {
            faults.push(format!("--hsts-max-age {max_age_s} is out of bounds: give 0 to {HSTS_MAX_AGE_S_MAX} seconds"));
        }
        if preload && (max_age_s < PRELOAD_MAX_AGE_S_MIN || !subdomains) {
            faults.push(format!(
                "--hsts-preload=on needs --hsts-max-age of {PRELOAD_MAX_AGE_S_MIN} at least and --hsts-include-subdomains=on: \
                 browsers do not take it otherwise"
            ));
        }
        let hsts = on(self.hsts).then_some(Hsts { max_age_s, subdomains, preload });
        Tls { version_min: self.tls_min_version, ciphers: self.tls_ciphers.clone(), hsts }
    }

    /// Networks of balancers in front. What is wrong is added to `faults`.
    pub fn proxy_protocol_from(&self, faults: &mut Vec<String>) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for text in &self.proxy_protocol_from {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            match text.parse::<IpNet>().or_else(|_| address()) {
                Ok(network) => networks.push(network.trunc()),
                Err(_) => faults.push(format!(
                    "--proxy-protocol-from {text} is no network: write an address, or one with a prefix, like 10.0.0.0/8"
                )),
            }
        }
        networks
    }

    fn check_suites(&self, faults: &mut Vec<String>) {
        let known: Vec<(String, TlsVersion)> = suite_names().collect();
        let list = |of: &dyn Fn(TlsVersion) -> bool| {
            known.iter().filter(|(_, v)| of(*v)).map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let mut usable = self.tls_ciphers.is_empty();
        for (index, name) in self.tls_ciphers.iter().enumerate() {
            if self.tls_ciphers.iter().take(index).any(|before| before == name) {
                faults.push(format!("--tls-ciphers names {name} twice: name it once"));
            }
            match known.iter().find(|(known, _)| known == name) {
                Some((_, version)) => {
                    usable |= *version == TlsVersion::Tls13 || self.tls_min_version == TlsVersion::Tls12
                }
                None => {
                    usable = true;
                    let all = list(&|_| true);
                    faults.push(format!("--tls-ciphers names {name}, which is not known: choose among {all}"));
                }
            }
        }
        if !usable {
            let of_13 = list(&|version| version == TlsVersion::Tls13);
            faults.push(format!(
                "--tls-ciphers names none of TLS 1.3, which --tls-min-version demands: add one of {of_13}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Just {
        #[command(flatten)]
        edge: EdgeArgs,
    }

    fn parse(arguments: &[&str]) -> (Tls, Vec<IpNet>, Vec<String>) {
        let edge = Just::try_parse_from(["run"].iter().chain(arguments)).expect("arguments parse").edge;
        let mut faults = Vec::new();
        (edge.tls(&mut faults), edge.proxy_protocol_from(&mut faults), faults)
    }

    #[test]
    fn defaults_are_those_of_the_type() {
        assert_eq!(parse(&[]), (Tls::default(), Vec::new(), Vec::new()));
    }

    #[test]
    fn what_is_given_is_taken() {
        let (tls, networks, faults) = parse(&[
            "--tls-min-version=1.3",
            "--tls-ciphers=TLS_CHACHA20_POLY1305_SHA256,TLS_AES_128_GCM_SHA256",
            "--hsts-max-age=60",
            "--hsts-include-subdomains=off",
            "--proxy-protocol-from=10.1.2.3/8,::1",
            "--proxy-protocol-from=192.0.2.1",
        ]);
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(tls.ciphers, ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"]);
        assert_eq!(tls.hsts, Some(Hsts { max_age_s: 60, subdomains: false, preload: false }));
        let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.0.0.0/8", "::1/128", "192.0.2.1/32"]);
        assert_eq!(parse(&["--hsts=off"]).0.hsts, None);
    }

    #[test]
    fn every_fault_is_listed_with_its_remedy() {
        let (_, _, faults) = parse(&[
            "--tls-min-version=1.3",
            "--tls-ciphers=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "--hsts-max-age=99999999999",
            "--hsts-preload=on",
            "--hsts-include-subdomains=off",
            "--proxy-protocol-from=10.0.0.0/33",
        ]);
        let all = faults.join("\n");
        for part in ["twice", "add one of TLS_AES", "--hsts-max-age 99999999999", "--hsts-preload", "10.0.0.0/33"] {
            assert!(all.contains(part), "{part} in {all}");
        }
        let (_, _, faults) = parse(&["--tls-ciphers=ECDHE-RSA-AES128-GCM-SHA256"]);
        assert!(faults.join("").contains("choose among"), "{faults:?}");
    }
}
