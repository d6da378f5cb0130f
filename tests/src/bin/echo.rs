//! `sluice-echo`: the echo backend as a program, for the demo and for trying things by hand.
//!
//! ```text
//! sluice-echo ADDR:PORT [namespace=N] [ingress=I] [service=S] [pod=P]   [-- the next one …]
//! ```
//!
//! What is not given is read from the environment variables NAMESPACE, INGRESS, SERVICE and POD_NAME. Says
//! `listening on ADDR:PORT` on standard output when it answers, and runs until it is killed.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use lb_tests::backend::serve;
use lb_tests::echo::Identity;
use std::net::{SocketAddr, TcpListener};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut listeners = Vec::new();
    for server in arguments.split(|a| a == "--") {
        let (address, identity) = read(server)?;
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        println!("listening on {}", listener.local_addr()?);
        listeners.push((listener, identity));
    }
    let (_forever, stopped) = tokio::sync::oneshot::channel();
    serve(listeners, &std::sync::Arc::default(), stopped)?;
    Ok(())
}

fn read(server: &[String]) -> Result<(SocketAddr, Identity)> {
    let [address, fields @ ..] = server else { bail!("usage: sluice-echo ADDR:PORT [name=value]… [-- …]") };
    let address = address.parse().with_context(|| format!("{address} is not ADDR:PORT"))?;
    let variable = |name| std::env::var(name).unwrap_or_default();
    let mut identity = Identity {
        namespace: variable("NAMESPACE"),
        ingress: variable("INGRESS"),
        service: variable("SERVICE"),
        pod: variable("POD_NAME"),
    };
    for field in fields {
        match field.split_once('=') {
            Some(("namespace", value)) => identity.namespace = value.to_owned(),
            Some(("ingress", value)) => identity.ingress = value.to_owned(),
            Some(("service", value)) => identity.service = value.to_owned(),
            Some(("pod", value)) => identity.pod = value.to_owned(),
            _ => bail!("{field} is none of namespace=, ingress=, service=, pod="),
        }
    }
    Ok((address, identity))
}
