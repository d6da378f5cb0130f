//! End-to-end and kernel tests over real sockets in network namespaces, in one binary. One file a subject.
//!
//! They need root, and the binaries of the workspace beside them: `cargo xtask test` builds and runs everything.

mod access_log;
mod admission;
mod apiserver;
mod churn;
mod cli;
mod cluster;
mod conformance;
mod deploy;
mod directory;
mod doctor;
mod edge;
mod endpoints;
mod examples;
mod flows;
mod frames;
mod grpc;
mod handoff;
mod headers;
mod http2;
mod kernel;
mod malformed;
mod paths;
mod reach;
mod report;
mod smuggling;
mod splice;
mod steering;
mod tls;
mod websocket;
