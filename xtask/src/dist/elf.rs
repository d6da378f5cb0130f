//! Whether a program needs anything else in order to start.
//!
//! Goes in: a file's bytes. Comes out: an error that names the loader or the library which it asks for.
//! Does not do: anything but 64-bit little-endian ELF (System V ABI, chapters 4 and 5). Truncated input is an error.

use anyhow::{Context, Result, ensure};

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;

/// Fails unless the program has neither a loader (`PT_INTERP`) nor shared libraries (`DT_NEEDED`).
pub fn check_static(bytes: &[u8]) -> Result<()> {
    ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "no 64-bit little-endian ELF file");
    let headers = program_headers(bytes)?;
    ensure!(headers.iter().any(|header| header.kind == PT_LOAD), "nothing in it is loaded");
    for header in headers {
        let content = bytes.get(header.offset..).and_then(|rest| rest.get(..header.size));
        let content = content.context("a segment lies beyond the end of the file")?;
        match header.kind {
            PT_INTERP => {
                let loader = String::from_utf8_lossy(content);
                anyhow::bail!("it needs the loader {}: it is not static", loader.trim_end_matches('\0'));
            }
            PT_DYNAMIC => {
                let tags = content.chunks_exact(16).map(|entry| number(entry, 0, 8)).collect::<Result<Vec<_>>>()?;
                let needed = tags.iter().take_while(|tag| **tag != DT_NULL).filter(|tag| **tag == DT_NEEDED).count();
                ensure!(needed == 0, "it needs {needed} shared libraries: it is not static");
            }
            _ => {}
        }
    }
    Ok(())
}

struct Header {
    kind: u64,
    offset: usize,
    size: usize,
}

fn program_headers(bytes: &[u8]) -> Result<Vec<Header>> {
    let start = usize::try_from(number(bytes, 32, 8)?)?;
    let size = usize::try_from(number(bytes, 54, 2)?)?;
    ensure!(size >= 56, "program headers of {size} bytes");
    let one = |index: u64| {
        let at = start.checked_add(usize::try_from(index)? * size).context("program headers beyond the end")?;
        let header = bytes.get(at..).context("program headers beyond the end")?;
        let offset = usize::try_from(number(header, 8, 8)?)?;
        Ok(Header { kind: number(header, 0, 4)?, offset, size: usize::try_from(number(header, 32, 8)?)? })
    };
    (0..number(bytes, 56, 2)?).map(one).collect()
}

/// A little-endian number of `length` bytes, at most 8.
fn number(bytes: &[u8], at: usize, length: usize) -> Result<u64> {
    let field = bytes.get(at..).and_then(|rest| rest.get(..length)).context("the file ends too early")?;
    Ok(field.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with the given segments: kind and content.
    fn file(segments: &[(u32, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56 * segments.len()];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = u8::try_from(segments.len()).expect("few segments");
        for (index, (kind, content)) in segments.iter().enumerate() {
            let (at, offset) = (64 + 56 * index, bytes.len());
            bytes[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            bytes[at + 8..at + 16].copy_from_slice(&(offset as u64).to_le_bytes());
            bytes[at + 32..at + 40].copy_from_slice(&(content.len() as u64).to_le_bytes());
            bytes.extend_from_slice(content);
        }
        bytes
    }

    #[test]
    fn loaders_and_libraries_are_found() {
        let check = |segments: &[(u32, &[u8])], want: &str| {
            let said = check_static(&file(segments)).map_or_else(|error| error.to_string(), |()| String::new());
            assert!(if want.is_empty() { said.is_empty() } else { said.contains(want) }, "{said}");
        };
        let entry = |tag: u64| [tag.to_le_bytes(), [0; 8]].concat();
        check(&[(1, b"code")], "");
        check(&[], "nothing in it is loaded");
        check(&[(1, b"code"), (3, b"/lib64/ld-linux-x86-64.so.2\0")], "/lib64/ld-linux-x86-64.so.2:");
        check(&[(1, b"code"), (2, &[entry(1), entry(1), entry(0), entry(1)].concat())], "needs 2 shared");
        check(&[(1, b"code"), (2, &[entry(5), entry(0)].concat())], "");
    }

    #[test]
    fn no_input_panics() {
        let whole = file(&[(1, b"code"), (2, &[0; 32])]);
        for length in 0..whole.len() {
            assert!(check_static(&whole[..length]).is_err(), "{length} bytes");
        }
        let mut wrong = whole;
        wrong[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(check_static(&wrong).is_err());
    }

    #[test]
    fn this_program_is_not_static() {
        let own = std::fs::read("/proc/self/exe").expect("our own file");
        assert!(check_static(&own).is_err());
    }
}
