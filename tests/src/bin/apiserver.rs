//! `sluice-apiserver`: the stand-in for kube-apiserver as a program, for the demo, the benchmarks and for trying things.

#![forbid(unsafe_code)]

use lb_tests::apiserver::ApiServer;

fn main() {
    let server = ApiServer::start();
    println!("listening on {}", server.address());
    loop {
        std::thread::park();
    }
}
