//! Every limit as a flag: one table, from which come the arguments, their checks and the configuration reference.
//!
//! Goes in: arguments and environment. Comes out: [`Limits`] of the request path, and the [`Policy`] of routes that say
//! nothing else. A value out of its bounds is a fault like any other: all are listed.

use crate::config::Limits;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use lb_core::model::Policy;
use std::ops::RangeInclusive;

/// A second and an hour, milliseconds.
const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
/// Sizes, bytes.
const KB: u64 = 1_024;
const MB: u64 = 1_024 * KB;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Ms,
    /// Things, by the name of the limit.
    Count,
}

/// A number that can be set.
pub struct Setting<T> {
    /// Name of the flag, without `--`.
    pub flag: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// What it may be.
    pub bounds: RangeInclusive<u64>,
    /// What it limits, and what happens beyond.
    pub help: &'static str,
    get: fn(&T) -> u64,
    set: fn(&mut T, u64),
}

/// A line of a table: flag, unit, bounds, field, help.
macro_rules! setting {
    ($flag:literal, $unit:ident, $bounds:expr, $field:ident, $help:literal) => {
        Setting {
            flag: $flag,
            unit: Unit::$unit,
            bounds: $bounds,
            help: $help,
            get: |of| of.$field.try_into().unwrap_or(u64::MAX),
            // It is within its bounds, and those within the type: a test tries both ends.
            set: |of, value| of.$field = value.try_into().unwrap_or(of.$field),
        }
    };
}

/// Limits of the request path.
pub const LIMITS: &[Setting<Limits>] = &[
    setting!(
        "limit-connections",
        Count,
        1..=10_000_000,
        connections_max,
        "Client connections at once, of all workers and of the kernel; more are closed at once and counted."
    ),
    setting!(
        "limit-requests-per-connection",
        Count,
        1..=1_000_000_000_000,
        requests_per_connection_max,
        "Requests on one client connection; then it is closed."
    ),
    setting!(
        "limit-handshake-ms",
        Ms,
        100..=HOUR,
        handshake_ms_max,
        "PROXY protocol header and TLS handshake together."
    ),
    setting!(
        "limit-head-bytes",
        Bytes,
        KB..=MB,
        head_bytes_max,
        "Request head, first line and fields; more is answered 431."
    ),
    setting!("limit-head-fields", Count, 8..=128, head_fields_max, "Header fields of a request; more is answered 431."),
    setting!(
        "limit-target-bytes",
        Bytes,
        256..=MB,
        target_bytes_max,
        "Request target, path and query; more is answered 414."
    ),
    setting!(
        "limit-head-ms",
        Ms,
        100..=HOUR,
        head_ms_max,
        "From the first byte of a request head to its last; then 408."
    ),
    setting!(
        "limit-idle-ms",
        Ms,
        100..=24 * HOUR,
        idle_ms_max,
        "A kept-alive connection without a request; then it is closed."
    ),
    setting!("limit-body-idle-ms", Ms, 100..=HOUR, body_idle_ms_max, "Between two reads of a request body; then 408."),
    setting!(
        "limit-write-idle-ms",
        Ms,
        100..=HOUR,
        write_idle_ms_max,
        "Between two writes to a client that does not read; then it is cut."
    ),
    setting!(
        "limit-response-head-bytes",
        Bytes,
        KB..=MB,
        response_head_bytes_max,
        "Response head of an endpoint; more is answered 502."
    ),
    setting!(
        "limit-pool-idle",
        Count,
        0..=65_536,
        pool_idle_max,
        "Idle connections that one worker keeps to one endpoint."
    ),
    setting!(
        "limit-pool-idle-ms",
        Ms,
        100..=24 * HOUR,
        pool_idle_ms_max,
        "How long an idle connection to an endpoint is kept."
    ),
    setting!(
        "limit-endpoint-requests",
        Count,
        1..=10_000_000,
        endpoint_requests_max,
        "Requests in work on one endpoint, over all workers; more go to another, or are answered 503."
    ),
    setting!(
        "limit-endpoint-pending",
        Count,
        1..=10_000_000,
        endpoint_pending_max,
        "Requests that wait for a connection to one endpoint, over all workers; more go to another, or are answered 503."
    ),
    setting!(
        "limit-service-requests",
        Count,
        1..=10_000_000,
        service_requests_max,
        "Requests in work on one service, over all workers; more are answered 503."
    ),
    setting!(
        "limit-service-pending",
        Count,
        1..=10_000_000,
        service_pending_max,
        "Requests that wait for a connection to any endpoint of one service, over all workers; more are answered 503."
    ),
    setting!("limit-streams", Count, 1..=10_000, streams_max, "Streams of one HTTP/2 connection at once."),
    setting!(
        "limit-h2-control-frames-per-second",
        Count,
        10..=1_000_000,
        h2_control_frames_per_s_max,
        "Frames without content on one HTTP/2 connection, each second; more end it with ENHANCE_YOUR_CALM."
    ),
];

/// What routes have that say nothing else.
pub const DEFAULTS: &[Setting<Policy>] = &[
    Setting {
        flag: "default-body-bytes",
        unit: Unit::Bytes,
        bounds: 0..=u64::MAX,
        help: "Request body; more is answered 413. 0: unlimited. Annotation proxy-body-size.",
        get: |policy| policy.body_bytes_max.unwrap_or(0),
        set: |policy, bytes| policy.body_bytes_max = Some(bytes).filter(|bytes| *bytes > 0),
    },
    setting!(
        "default-connect-ms",
        Ms,
        100..=HOUR,
        connect_ms_max,
        "Until the connection to an endpoint stands; then 504. Annotation proxy-connect-timeout."
    ),
    setting!(
        "default-read-idle-ms",
        Ms,
        100..=24 * HOUR,
        read_idle_ms_max,
        "To the first byte of a response, and between two reads of it; 504 before its head, then a cut. Annotation proxy-read-timeout."
    ),
    setting!(
        "default-send-idle-ms",
        Ms,
        100..=24 * HOUR,
        send_idle_ms_max,
        "Between two writes to an endpoint. Annotation proxy-send-timeout."
    ),
    setting!(
        "default-total-ms",
        Ms,
        SECOND..=7 * 24 * HOUR,
        total_ms_max,
        "From the head of a request to the end of its response; upgraded connections are bounded by idle times alone."
    ),
];

/// The arguments of both tables, as they were given.
#[derive(Debug, Clone)]
pub struct LimitArgs {
    given: Vec<(&'static str, u64)>,
}

impl LimitArgs {
    /// The limits.
    ///
    /// # Errors
    /// None: what is wrong is added to `faults`.
    pub fn limits(&self, faults: &mut Vec<String>) -> Limits {
        let limits = self.apply(LIMITS, Limits::default(), faults);
        if limits.target_bytes_max > limits.head_bytes_max {
            faults.push(format!(
                "--limit-target-bytes {} is more than --limit-head-bytes {}, which holds it: lower the one or raise the other",
                limits.target_bytes_max, limits.head_bytes_max
            ));
        }
        limits
    }

    /// What routes have that say nothing else.
    ///
    /// # Errors
    /// None: what is wrong is added to `faults`.
    pub fn defaults(&self, faults: &mut Vec<String>) -> Policy {
        self.apply(DEFAULTS, Policy::default(), faults)
    }

    fn apply<T>(&self, table: &[Setting<T>], mut of: T, faults: &mut Vec<String>) -> T {
        for (setting, value) in self.given.iter().filter_map(|(flag, value)| Some((find(table, flag)?, *value))) {
            let (flag, low, high) = (setting.flag, setting.bounds.start(), setting.bounds.end());
            if setting.bounds.contains(&value) {
                (setting.set)(&mut of, value);
            } else {
                faults.push(format!("--{flag} {value} is out of bounds: give {low} to {high}{}", setting.unit.text()));
            }
        }
        of
    }
}

impl Unit {
    /// For after a number.
    pub fn text(self) -> &'static str {
        match self {
            Self::Bytes => " bytes",
            Self::Ms => " ms",
            Self::Count => "",
        }
    }
}

impl<T> Setting<T> {
    fn arg(&self, default: &T, heading: &'static str) -> Arg {
        let bounds = match (*self.bounds.start(), *self.bounds.end()) {
            (_, u64::MAX) => String::new(),
            (low, high) => format!(" {low} to {high}{}.", self.unit.text()),
        };
        Arg::new(self.flag)
            .long(self.flag)
            .env(format!("SLUICE_{}", self.flag.to_uppercase().replace('-', "_")))
            .value_name(match self.unit {
                Unit::Bytes => "BYTES",
                Unit::Ms => "MS",
                Unit::Count => "N",
            })
            .value_parser(clap::value_parser!(u64))
            .default_value((self.get)(default).to_string())
            .help(format!("{}{bounds}", self.help))
            .help_heading(heading)
    }
}

impl Args for LimitArgs {
    fn augment_args(command: Command) -> Command {
        let limits = LIMITS.iter().map(|setting| setting.arg(&Limits::default(), "Limits"));
        let defaults = DEFAULTS.iter().map(|setting| setting.arg(&Policy::default(), "Defaults of routes"));
        command.args(limits.chain(defaults))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LimitArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = LIMITS.iter().map(|setting| setting.flag).chain(DEFAULTS.iter().map(|setting| setting.flag));
        Ok(Self { given: flags.filter_map(|flag| Some((flag, *matches.get_one(flag)?))).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn find<'t, T>(table: &'t [Setting<T>], flag: &str) -> Option<&'t Setting<T>> {
    table.iter().find(|setting| setting.flag == flag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Just {
        #[command(flatten)]
        limits: LimitArgs,
    }

    fn parse(arguments: &[String]) -> (Limits, Policy, Vec<String>) {
        let all = std::iter::once("run").chain(arguments.iter().map(String::as_str));
        let args = Just::try_parse_from(all).expect("arguments parse").limits;
        let mut faults = Vec::new();
        (args.limits(&mut faults), args.defaults(&mut faults), faults)
    }

    #[test]
    fn defaults_are_those_of_the_types() {
        let (limits, policy, faults) = parse(&[]);
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(format!("{limits:?}"), format!("{:?}", Limits::default()));
        assert_eq!(policy, Policy::default());
    }

    #[test]
    fn every_field_is_in_the_table() {
        // One line of the debug form is one field.
        let fields = format!("{:#?}", Limits::default()).lines().count() - 2;
        assert_eq!(LIMITS.len(), fields);
    }

    fn ends<T: Default>(table: &[Setting<T>]) {
        for setting in table {
            let default = (setting.get)(&T::default());
            assert!(setting.bounds.contains(&default), "{}: the default {default}", setting.flag);
            for end in [*setting.bounds.start(), *setting.bounds.end()] {
                let mut of = T::default();
                (setting.set)(&mut of, end);
                assert_eq!((setting.get)(&of), end, "{}", setting.flag);
            }
        }
    }

    #[test]
    fn both_ends_of_all_bounds_fit() {
        ends(LIMITS);
        ends(DEFAULTS);
    }

    #[test]
    fn every_fault_is_listed_with_its_bounds() {
        let (_, _, faults) = parse(&[
            "--limit-head-bytes=1".to_owned(),
            "--limit-streams=0".to_owned(),
            "--default-connect-ms=5".to_owned(),
            "--limit-target-bytes=1000000".to_owned(),
        ]);
        let all = faults.join("\n");
        for part in ["--limit-head-bytes 1 ", "1024 to 1048576 bytes", "--limit-streams 0 ", "--default-connect-ms 5 "]
        {
            assert!(all.contains(part), "{part} in {all}");
        }
        assert!(all.contains("lower the one or raise the other"), "{all}");
    }

    #[test]
    fn a_body_of_any_size_is_zero() {
        let (limits, policy, _) = parse(&["--default-body-bytes=0".to_owned(), "--limit-connections=7".to_owned()]);
        assert_eq!((limits.connections_max, policy.body_bytes_max), (7, None));
    }
}
