//! Sources of objects. Goes in: files (later: the Kubernetes API). Comes out: objects in a [`super::store::Store`],
//! and Problems for what could not be read.

pub mod directory;
pub mod manifest;
