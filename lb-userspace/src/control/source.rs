//! Sources of objects. Goes in: files, or what a Kubernetes API tells. Comes out: objects in a [`super::store::Store`],
//! and Problems for what could not be read.

pub mod cluster;
pub mod directory;
pub mod manifest;
mod watcher;
