//! What the agent counts and logs. Goes in: events of the request path. Comes out: [`Counters`] and access-log lines.
//!
//! Does not serve them: that is `admin`'s work.

pub mod access_log;
pub mod connections;
pub mod counters;
pub mod handoffs;
pub mod report;
pub mod source;

pub use access_log::{AccessLog, AccessRecord};
pub use counters::Counters;
pub use handoffs::{Handoffs, StepTimes};
pub use report::{ReportView, Written};
pub use source::{Feed, Feeds, SourceView};
