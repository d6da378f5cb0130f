//! Decisions of Sluice, as pure functions over immutable values.
//!
//! Owns: the [`model`] (what a Snapshot is), [`route`] matching, request [`filter`]s, [`balance`], the [`class`]
//! of a connection with its reason, the [`explain`]ation of a decision, and [`plan`]s of change for kernel state.
//! Goes in: values made by `lb-userspace`. Comes out: decisions.
//! Does not do: I/O, clocks, randomness (they are arguments), and knows neither Kubernetes nor eBPF.

#![forbid(unsafe_code)]

pub mod balance;
pub mod class;
pub mod explain;
pub mod filter;
pub mod handoff;
pub mod model;
pub mod plan;
pub mod problem;
pub mod route;

pub use model::Snapshot;
pub use problem::Problem;
