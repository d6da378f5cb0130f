//! `sluice-apiserver`: the stand-in for kube-apiserver as a program, for the demo, the benchmarks and for trying things.
//!
//! ```text
//! sluice-apiserver [ADDR:PORT] [COMMAND]…
//! ```
//!
//! Says `listening on https://ADDR:PORT`, `ca PATH`, `token TOKEN` and `kubeconfig PATH` on standard output, the last
//! two of the administrator, does the commands of its arguments, and says `ready`. Then it takes commands on standard
//! input, one a line, and answers each with a line: `ok`, `ok ANSWER` or `error WHY`. `help` prints them. It ends with
//! standard input, unless that was closed at the start: then it runs until it is killed.

#![forbid(unsafe_code)]

use lb_tests::apiserver::{ApiServer, command};
use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr};

fn main() -> std::io::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = arguments.first().and_then(|first| first.parse::<SocketAddr>().ok());
    if given.is_some() {
        arguments.remove(0);
    }
    let server = ApiServer::start_at(given.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
    let token = server.admin_token().to_owned();
    let mount = server.service_account_dir(&token, "default");
    println!("listening on {}", server.url());
    println!("ca {}", mount.join("ca.crt").display());
    println!("token {token}");
    println!("kubeconfig {}", server.kubeconfig(&token).display());
    for argument in arguments {
        obey(&server, &argument)?;
    }
    println!("ready");
    std::io::stdout().flush()?;
    let mut any = false;
    for line in std::io::stdin().lock().lines() {
        any = true;
        obey(&server, &line?)?;
    }
    while !any {
        std::thread::park();
    }
    Ok(())
}

/// Prints the answer as it is asked for: standard output may be a pipe.
fn obey(server: &ApiServer, line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match command::run(server, line) {
        Ok(answer) if answer.is_empty() => writeln!(out, "ok")?,
        Ok(answer) => writeln!(out, "ok {answer}")?,
        Err(why) => writeln!(out, "error {}", why.replace('\n', " "))?,
    }
    out.flush()
}
