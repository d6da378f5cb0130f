//! Log records of the program become events of `tracing`, and a flood of packets makes few of them.

use super::lab::{self, Lab, Socket, connect};
use lb_userspace::kernel::Steering;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

/// How many connections are refused.
const REFUSED: u64 = 100;

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_socket_is_logged_and_the_log_is_bounded() {
    let lab = Lab::new();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let open = || tracing::subscriber::with_default(subscriber, || Steering::open(&lab.pin_dir));
    let mut steering = lab.server.run(open).unwrap_or_else(|error| panic!("steering is not available: {error}"));
    let listener = lab.listen(Socket::V4);
    lab.steer(&mut steering, &[("10.77.0.2:80", &listener)]);
    drop(listener);
    let before = lab::counters(&steering);
    for _ in 0..REFUSED {
        connect(&lab.client, "10.77.0.2:80").expect_err("the socket is closed");
    }
    assert_eq!(lab::grown(&before, &lab::counters(&steering)), [("socket_gone", REFUSED)]);
    // What is in the ring is forwarded before the forwarder ends.
    drop(steering);
    let log = String::from_utf8(log.0.lock().expect("no writer panics").clone()).expect("a log is text");
    let records = log.lines().filter(|line| line.contains("WARN ebpf: [::ffff:10.77.0.2]:80: the socket in slot 0"));
    let records = records.count() as u64;
    // The 1st, 2nd, 4th up to the 64th packet of each CPU.
    let cpus = std::thread::available_parallelism().expect("CPUs are counted").get() as u64;
    assert!(records >= 1 && records <= 7 * cpus, "{records} records: {log}");
}
