//! The harness of the end-to-end tests: network namespaces, echo backends, the agent under test, clients and load.
//!
//! Everything here makes what a test needs and removes it again when dropped, also when the test panics. Nothing here
//! asserts about Sluice: that is what `tests/it` does. Setting up panics with a message, because a test can do nothing
//! better with such an error.

#![forbid(unsafe_code)]

pub mod agent;
pub mod apiserver;
pub mod backend;
pub mod client;
pub mod echo;
pub mod frames;
pub mod handoff;
pub mod kubectl;
pub mod lab;
pub mod load;
pub mod manifest;
pub mod netns;
pub mod packet;
pub mod scratch;
pub mod site;
pub mod websocket;
