//! `sluice.dev/steering`: whether every request is routed, or the first one of a connection for all that follow.
//!
//! Whether it can be is decided with all Ingresses of the host; see `translate::steering`.

use super::reader::Reader;
use super::value::Invalid;
use super::{Draft, Family};

pub(super) const FAMILY: Family = Family { keys: &[KEY], read };

const KEY: &str = "sluice.dev/steering";

fn read(reader: &Reader<'_, '_>, draft: &mut Draft) {
    let wanted = reader.read(KEY, |text| match text {
        "connection" => Ok(true),
        "request" => Ok(false),
        _ => Err(Invalid::new(
            format!("{text:?} is nothing that is steered"),
            "Write \"request\", or \"connection\" for whole connections.",
        )),
    });
    draft.steering.connection = wanted.unwrap_or(false);
}

#[cfg(test)]
mod tests {
    use super::super::trial::trial;

    #[test]
    fn what_is_steered() {
        for (text, want, problems_want) in
            [("connection", true, 0), ("request", false, 0), ("Connection", false, 1), ("", false, 1)]
        {
            let (settings, problems) = trial(&[(super::KEY, text)]);
            assert_eq!((settings.steering.connection, problems.len()), (want, problems_want), "{text}");
        }
    }
}
