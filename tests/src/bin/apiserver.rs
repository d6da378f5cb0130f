//! `sluice-apiserver`: the stand-in for kube-apiserver as a program, for the demo, the benchmarks and for trying things.
//!
//! ```text
//! sluice-apiserver [--listen ADDR:PORT] [--plain ADDR:PORT] [--kubeconfig FILE] [--directory DIR]… [COMMAND]…
//! ```
//!
//! `--plain` serves the same in the clear, to everyone, past every fault, once all objects are there; `--kubeconfig` says
//! where the administrator's configuration is written; `--directory` names manifests. Says `listening on
//! https://ADDR:PORT`, `ca FILE`, `token TOKEN` and `kubeconfig FILE` on standard output, does the commands of its
//! arguments, and says `ready`. Then it takes commands on standard input, one a line, and answers each with `ok`, `ok
//! ANSWER` or `error WHY`; `help` prints them. It ends with standard input, unless that was empty: then it runs until it
//! is killed.

#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use lb_tests::apiserver::{ApiServer, command};
use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};

fn main() -> Result<()> {
    let (mut listen, mut plain) = (SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None);
    let (mut kubeconfig, mut commands) = (None, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--listen" => listen = address(&value()?)?,
            "--plain" => plain = Some(address(&value()?)?),
            "--kubeconfig" => kubeconfig = Some(value()?),
            "--directory" => commands.push(format!("put {}", value()?)),
            _ => commands.push(argument),
        }
    }
    let mut server = ApiServer::start_at(listen);
    let token = server.admin_token().to_owned();
    let made = server.kubeconfig(&token).display().to_string();
    if let Some(wanted) = &kubeconfig {
        std::fs::copy(&made, wanted).with_context(|| format!("cannot write {wanted}"))?;
    }
    println!("listening on {}", server.url());
    println!("ca {}", server.service_account_dir(&token, "default").join("ca.crt").display());
    println!("token {token}");
    println!("kubeconfig {}", kubeconfig.unwrap_or(made));
    for command in commands {
        obey(&server, &command)?;
    }
    if let Some(plain) = plain {
        println!("plain http://{}", server.serve_plain(plain));
    }
    println!("ready");
    std::io::stdout().flush()?;
    let mut is_fed = false;
    for line in std::io::stdin().lock().lines() {
        is_fed = true;
        obey(&server, &line?)?;
    }
    if is_fed {
        return Ok(());
    }
    loop {
        std::thread::park();
    }
}

fn address(text: &str) -> Result<SocketAddr> {
    text.parse().with_context(|| format!("{text} is not ADDR:PORT"))
}

/// Prints the answer at once: standard output may be a pipe.
fn obey(server: &ApiServer, line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match command::run(server, line) {
        Ok(answer) if answer.is_empty() => writeln!(out, "ok")?,
        Ok(answer) => writeln!(out, "ok {answer}")?,
        Err(why) => writeln!(out, "error {}", why.replace('\n', " "))?,
    }
    Ok(out.flush()?)
}
