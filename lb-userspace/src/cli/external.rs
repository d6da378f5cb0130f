//! Flags of `ExternalName` Services: whether they are served, and where their names must not lead.
//!
//! Goes in: arguments. Comes out: [`ExternalNames`], if they are served; every fault is listed.

use crate::config::ExternalNames;
use clap::Args;
use ipnet::IpNet;
use std::net::IpAddr;

/// `ExternalName` Services.
#[derive(Debug, Args)]
#[command(next_help_heading = "ExternalName Services")]
pub struct ExternalArgs {
    /// Serve Services of type ExternalName: whoever may create one chooses where requests go.
    #[arg(long, env = "SLUICE_ALLOW_EXTERNAL_NAME")]
    allow_external_name: bool,
    /// Network that names of ExternalName Services must not lead to, beside loopback, link-local, multicast and metadata
    /// services: those of Services and nodes, mostly. May be given several times, or separated by commas.
    #[arg(long, env = "SLUICE_EXTERNAL_NAME_DENY", value_name = "CIDR", value_delimiter = ',')]
    external_name_deny: Vec<String>,
}

impl ExternalArgs {
    /// `ExternalName` Services, if they are served. What is wrong is added to `faults`.
    pub fn external_names(&self, faults: &mut Vec<String>) -> Option<ExternalNames> {
        let mut deny = Vec::new();
        for text in &self.external_name_deny {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            match text.parse::<IpNet>().or_else(|_| address()) {
                Ok(network) => deny.push(network.trunc()),
                Err(_) => faults.push(format!(
                    "--external-name-deny {text} is no network: write an address, or one with a prefix, like 10.96.0.0/12"
                )),
            }
        }
        if !deny.is_empty() && !self.allow_external_name {
            faults.push(
                "--external-name-deny means nothing without --allow-external-name: give both, or neither".to_owned(),
            );
        }
        self.allow_external_name.then_some(ExternalNames { deny })
    }
}
