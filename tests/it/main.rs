//! End-to-end tests over real sockets in network namespaces, in one binary. One file a subject.
