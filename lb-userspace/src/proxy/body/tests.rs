//! Tests of bodies: what decodes to what, what is refused, and that no split of the bytes makes a difference.

use super::*;
use proptest::prelude::*;

/// Decodes `wire` given in pieces that end at `splits`; answers the content and how many bytes were left over.
fn decode(length: Length, wire: &[u8], splits: &[usize]) -> Result<Option<(Vec<u8>, usize)>, BadBody> {
    let mut decoder = Decoder::new(length);
    let (mut content, mut at) = (Vec::new(), 0);
    for end in splits.iter().copied().chain([wire.len()]) {
        loop {
            let input = wire.get(at..end.min(wire.len()).max(at)).unwrap_or_default();
            let (skip, next) = decoder.step(input)?;
            assert!(skip <= input.len(), "skipped what is not there");
            at += skip;
            match next {
                Next::Data(count) => {
                    content.extend_from_slice(&wire[at..at + count]);
                    decoder.took(count);
                    at += count;
                }
                Next::More => break,
                Next::End => return Ok(Some((content, wire.len() - at))),
            }
        }
    }
    Ok(None)
}

#[test]
fn well_formed() {
    let check = |length, wire: &str, want: Option<(&str, usize)>| {
        let want = want.map(|(content, left)| (content.as_bytes().to_vec(), left));
        assert_eq!(decode(length, wire.as_bytes(), &[]), Ok(want), "{wire:?}");
    };
    check(Length::None, "GET", Some(("", 3)));
    check(Length::Sized(3), "abcdef", Some(("abc", 3)));
    check(Length::Sized(3), "ab", None);
    check(Length::UntilClose, "abc", None);
    check(Length::Chunked, "0\r\n\r\n", Some(("", 0)));
    check(Length::Chunked, "3\r\nabc\r\n0\r\n\r\nGET", Some(("abc", 3)));
    check(Length::Chunked, "3\r\nabc\r\n0010\r\n0123456789abcdef\r\n00\r\n\r\n", Some(("abc0123456789abcdef", 0)));
    check(Length::Chunked, "3;name=\"v\t \";x\r\nabc\r\n0;last\r\n\r\n", Some(("abc", 0)));
    check(Length::Chunked, "1\r\na\r\n0\r\nDigest: x\r\nExpires:\r\n\r\n", Some(("a", 0)));
    check(Length::Chunked, "ffffffffffffffff\r\nabc", None);
    check(Length::Chunked, "1\r\na\r\n0\r\n", None);
}

#[test]
fn malformed_chunks() {
    let check = |wire: &str, want| assert_eq!(decode(Length::Chunked, wire.as_bytes(), &[]), Err(want), "{wire:?}");
    for size in [
        "",
        "\r\n",
        "+3\r\n",
        "-3\r\n",
        " 3\r\n",
        "3 \r\n",
        "3\t\r\n",
        "0x3\r\n",
        "g\r\n",
        "3,3\r\n",
        "\n",
        "3.0\r\n",
        "é\r\n",
        "10000000000000000\r\n",
        "00000000000000003\r\n",
        "3 ;x\r\n",
        "\u{0}3\r\n",
    ] {
        check(&format!("{size}x"), BadBody::Size);
    }
    for wire in ["3\n", "3\nabc", "3x\r\nabc"] {
        check(wire, BadBody::Size);
    }
    for wire in
        ["3\r\r", "3\rabc", "3\r\nabcX", "3\r\nabc\n", "3\r\nabc\rX", "3\r\nabcd\r\n", "3;x\rabc", "0\rX", "0\r\n\rX"]
    {
        check(wire, BadBody::Delimiter);
    }
    for wire in ["3;a\nb\r\n", "3;a\u{0}\r\n", "3;\u{7f}\r\n", &format!("3;{}\r\n", "x".repeat(1_025))] {
        check(wire, BadBody::Extension);
    }
    for wire in [
        "0\r\n: x\r\n\r\n",
        "0\r\nname\r\n\r\n",
        "0\r\nna me: x\r\n\r\n",
        "0\r\nname : x\r\n\r\n",
        "0\r\n folded\r\n\r\n",
        "0\r\nn: a\u{0}b\r\n\r\n",
        "0\r\nn: a\nb\r\n\r\n",
        "0\r\n\n",
    ] {
        check(wire, BadBody::Trailer);
    }
    check(&format!("0\r\n{}: x\r\n\r\n", "n".repeat(8_193)), BadBody::Trailer);
    check(&format!("0\r\n{}\r\n", "a: bcdefgh\r\n".repeat(1_200)), BadBody::Trailer);
}

#[test]
fn chunks_are_written_as_they_are_read() {
    for size in [1, 9, 10, 15, 16, 255, 256, 65_535, 65_536] {
        let data = vec![b'x'; size];
        let mut wire = Vec::new();
        write_chunk(&mut wire, &data);
        write_last_chunk(&mut wire, None);
        assert_eq!(decode(Length::Chunked, &wire, &[]), Ok(Some((data, 0))), "{size}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(wire: Vec<u8>, size: u64) {
        for length in [Length::None, Length::Sized(size), Length::Chunked, Length::UntilClose] {
            let _ = decode(length, &wire, &[]);
        }
    }

    #[test]
    fn splits_make_no_difference(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
        mut splits in prop::collection::vec(0_usize..600, 0..12),
        damage in prop::option::of((0_usize..600, any::<u8>())),
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            write_chunk(&mut wire, chunk);
        }
        wire.extend_from_slice(b"0\r\nTrailer: value\r\n\r\nrest");
        if let Some((at, byte)) = damage {
            let at = at % wire.len();
            wire[at] = byte;
        }
        splits.sort_unstable();
        let whole = decode(Length::Chunked, &wire, &[]);
        if damage.is_none() {
            prop_assert_eq!(&whole, &Ok(Some((chunks.concat(), 4))));
        }
        prop_assert_eq!(whole, decode(Length::Chunked, &wire, &splits));
    }
}
