//! Memory that a test measures: in a process of its own, for that of other tests must not count.

/// Names the process that measures: the memory of other tests must not count.
const MEASURING: &str = "SLUICE_TEST_MEASURES_MEMORY";

/// Runs a test again in a process of its own, with as many descriptors as there may be; `false` in that process.
pub fn measures_memory(test: &str) -> bool {
    if std::env::var_os(MEASURING).is_some() {
        return false;
    }
    // Both ends of each connection are descriptors of that process, and shells allow 1,024.
    let raised = r#"ulimit -n "$(ulimit -Hn)" && exec "$0" "$@""#;
    let this = std::env::current_exe().expect("a test binary");
    let status = std::process::Command::new("sh")
        .args(["-c".as_ref(), raised.as_ref(), this.as_os_str()])
        .args(["--exact", test])
        .env(MEASURING, "1")
        .status();
    assert!(status.expect("it ran").success());
    true
}

/// Memory of this process that is in use, bytes.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").expect("statm");
    status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("pages") * 4_096
}
