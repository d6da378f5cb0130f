//! What this node has of what we need from its kernel, found by doing it, for a table that people read.
//!
//! Owns: the form of an answer, and the questions (one noun a file). Goes in: what is [`Asked`] for. Comes out: [`Check`]s.
//! Does not do: changing anything that stays (programs are loaded and dropped, a directory is made and removed), questions
//! about listeners and files (`app::doctor`), printing.

mod call;
mod interfaces;
mod place;
mod privileges;
mod programs;
mod settings;

use super::carrier::Interfaces;
use serde::Serialize;
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// How much something is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Not at all.
    Off,
    /// Where it can be had.
    Auto,
    /// Or the agent does not start.
    Required,
}

/// What is asked of the kernel.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Directory of the pins.
    pub pin_dir: PathBuf,
    /// Steering by `sk_lookup`.
    pub steering: Want,
    /// Carrying connections.
    pub splice: Want,
    /// Where connections are to be carried.
    pub interfaces: Interfaces,
    /// Source ports towards endpoints.
    pub ports: RangeInclusive<u16>,
    /// In the network driver too.
    pub xdp: bool,
    /// Whether to load the programs, which takes some 200 ms; an agent that starts loads them anyhow.
    pub loads: bool,
}

/// How something is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// The agent serves without it, with the loss that [`Check::needed_for`] names.
    Degraded,
    /// The agent does not start, or does not serve, as it was asked to.
    Missing,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What for, and what is lost without it.
    pub needed_for: &'static str,
    /// What to do; none where it is as it should be.
    pub remedy: Option<String>,
}

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Steering,
    Splice,
    /// Both in the same way.
    Both,
}

impl State {
    /// As in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Missing => "missing",
        }
    }
}

impl Check {
    /// Something that is as it should be.
    #[must_use]
    pub fn ok(name: impl Into<String>, found: impl Into<String>, needed_for: &'static str) -> Self {
        Self { name: name.into(), state: State::Ok, found: found.into(), needed_for, remedy: None }
    }

    /// Turns it into something that is not, with what to do about it.
    #[must_use]
    pub fn but(self, state: State, remedy: impl Into<String>) -> Self {
        Self { state, remedy: Some(remedy.into()), ..self }
    }
}

impl Part {
    const fn needed_for(self) -> &'static str {
        match self {
            Self::Steering => "steering by sk_lookup; without it ordinary sockets are bound",
            Self::Splice => "carrying connections in the kernel; without it userspace carries all",
            Self::Both => "steering and carrying; without it sockets are bound and userspace carries all connections",
        }
    }
}

impl Asked {
    fn want(&self, part: Part) -> Want {
        match (part, self.steering, self.splice) {
            (Part::Steering, want, _) | (Part::Splice, _, want) | (Part::Both, want, Want::Off) => want,
            (Part::Both, Want::Off, want) => want,
            (Part::Both, Want::Required, _) | (Part::Both, _, Want::Required) => Want::Required,
            (Part::Both, Want::Auto, Want::Auto) => Want::Auto,
        }
    }

    fn wants(&self, part: Part) -> bool {
        self.want(part) != Want::Off
    }

    /// A check about a part: as it should be, or else with what to do.
    fn check(&self, name: &str, part: Part, outcome: Result<String, (String, String)>) -> Check {
        let lacking = if self.want(part) == Want::Required { State::Missing } else { State::Degraded };
        match outcome {
            Ok(found) => Check::ok(name, found, part.needed_for()),
            Err((found, remedy)) => Check::ok(name, found, part.needed_for()).but(lacking, remedy),
        }
    }
}

/// Asks everything that matters for what is asked for.
#[must_use]
pub fn examine(asked: &Asked) -> Vec<Check> {
    let mut checks = Vec::new();
    if asked.wants(Part::Both) {
        checks.extend(call::checks(asked));
        checks.extend(privileges::checks(asked));
        checks.extend(place::checks(asked));
        checks.extend(programs::checks(asked));
    }
    if asked.wants(Part::Splice) {
        checks.extend(interfaces::checks(asked));
        checks.extend(settings::checks(asked));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(steering: Want, splice: Want) -> Asked {
        Asked {
            pin_dir: "/nonexistent".into(),
            steering,
            splice,
            interfaces: Interfaces::Auto { except: Vec::new() },
            ports: 20_000..=29_999,
            xdp: false,
            loads: false,
        }
    }

    #[test]
    fn what_is_lacking_is_an_error_only_where_it_is_required() {
        let check = |steering, splice, part, want: State| {
            let outcome = Err(("nothing".to_owned(), "get it".to_owned()));
            assert_eq!(
                asked(steering, splice).check("x", part, outcome).state,
                want,
                "{steering:?} {splice:?} {part:?}"
            );
        };
        check(Want::Auto, Want::Auto, Part::Both, State::Degraded);
        check(Want::Required, Want::Auto, Part::Both, State::Missing);
        check(Want::Auto, Want::Required, Part::Both, State::Missing);
        check(Want::Auto, Want::Required, Part::Steering, State::Degraded);
        check(Want::Off, Want::Required, Part::Splice, State::Missing);
        check(Want::Required, Want::Off, Part::Splice, State::Degraded);
    }

    #[test]
    fn nothing_is_asked_of_the_kernel_when_nothing_is_wanted_of_it() {
        assert_eq!(examine(&asked(Want::Off, Want::Off)), Vec::new());
        assert!(!asked(Want::Off, Want::Off).wants(Part::Both));
    }
}
