//! `sluice.dev/send-proxy-protocol`: endpoints are told of the client by a PROXY protocol header before everything else.

use super::reader::Reader;
use super::value::Invalid;
use super::{Draft, Family};
use lb_core::model::ProxyProtocol;

pub(super) const FAMILY: Family = Family { keys: &[KEY], read };

const KEY: &str = "sluice.dev/send-proxy-protocol";

fn read(reader: &Reader<'_, '_>, draft: &mut Draft) {
    draft.proxy_protocol = reader.read(KEY, |text| match text {
        "v1" => Ok(ProxyProtocol::V1),
        "v2" => Ok(ProxyProtocol::V2),
        _ => Err(Invalid::new(format!("{text:?} is no version of the PROXY protocol"), "Write v1 or v2.")),
    });
}

#[cfg(test)]
mod tests {
    use super::super::trial::trial;

    #[test]
    fn versions() {
        for (text, want, problems_want) in
            [("v1", "HTTP/1.1, behind PROXY v1", 0), ("v2", "HTTP/1.1, behind PROXY v2", 0), ("true", "HTTP/1.1", 1)]
        {
            let (settings, problems) = trial(&[(super::KEY, text)]);
            assert_eq!((&*settings.upstream.to_string(), problems.len()), (want, problems_want), "{text}");
        }
    }
}
