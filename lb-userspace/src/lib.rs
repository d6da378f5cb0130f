//! The Sluice agent as a library: four rooms that never import one another, and what crosses their walls.
//!
//! `control` (Kubernetes words), `kernel` (aya, libc, `unsafe`), `proxy` (listeners, rustls, HTTP), `admin` (health,
//! metrics, inspection). [`app`] is the only file that knows every part. What crosses a wall: `lb_core::Snapshot`,
//! `lb_core::Problem`, [`telemetry`] counters, and traits declared by their user.

#![deny(unsafe_code)]

pub mod admin;
pub mod app;
pub mod cli;

pub mod config;
pub mod control;
pub mod epoch;
pub mod kernel;
pub mod proxy;
pub mod publish;
pub mod telemetry;
