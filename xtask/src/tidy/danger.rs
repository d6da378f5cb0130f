//! Rules about `unsafe`: only in the named places, and each block with the reason it holds.

use super::source::{Finding, Source, find_word};

/// Where `unsafe` may stand: a file, or everything below a directory.
const PLACES: [&str; 4] =
    ["lb-common/src/abi.rs", "lb-ebpf/src/", "lb-userspace/src/kernel/", "lb-userspace/src/kernel.rs"];

/// All rules about `unsafe` in one file.
pub fn check(source: &Source) -> Vec<Finding> {
    let allowed = PLACES.iter().any(|place| source.path.starts_with(place));
    let lines: Vec<&str> = source.text.lines().collect();
    let mut findings = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let code = without_strings(line.split("//").next().unwrap_or_default());
        let Some(at) = find_word(&code, "unsafe") else { continue };
        if !allowed {
            let remedy = format!("move it to one of {}", PLACES.join(", "));
            findings.push(source.finding(index + 1, "unsafe outside its places", remedy));
            continue;
        }
        let what = code[at..].strip_prefix("unsafe").unwrap_or_default().trim_start();
        if (what.starts_with('{') || what.starts_with("impl")) && !has_reason(&lines[..index]) {
            let remedy = "write `// SAFETY:` and why it holds above it";
            findings.push(source.finding(index + 1, "unsafe without a reason", remedy));
        }
    }
    findings
}

/// Whether a comment with `SAFETY:` stands directly above: only comments, attributes and the beginning of the same
/// statement may lie between.
fn has_reason(above: &[&str]) -> bool {
    for line in above.iter().rev().map(|line| line.trim()) {
        if line.starts_with("//") {
            if line.contains("SAFETY:") {
                return true;
            }
            continue;
        }
        let same_statement = line.starts_with("#[") || line.ends_with(['=', '(', ',', '|', '&', '.']);
        if !same_statement {
            return false;
        }
    }
    false
}

/// The line with the content of its string literals taken out. Literals over several lines stay, and show as findings.
fn without_strings(line: &str) -> String {
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"")
}

#[cfg(test)]
mod tests {
    use super::super::source::expect;
    use super::*;

    const CODE: &str = concat!("unsa", "fe");

    #[test]
    fn places() {
        let block = format!("// SAFETY: it holds.\n{CODE} {{ go() }}\n");
        expect("lb-userspace/src/kernel/repair.rs", &block, check, &[]);
        expect("lb-common/src/abi.rs", &block, check, &[]);
        expect("lb-ebpf/src/main.rs", &block, check, &[]);
        expect("lb-userspace/src/proxy/accept.rs", &block, check, &[(2, "outside")]);
        expect("lb-core/src/lib.rs", &format!("#![forbid({CODE}_code)]\n"), check, &[]);
        expect("lb-core/src/lib.rs", &format!("// no {CODE} here\nlet a = \"{CODE}\";\n"), check, &[]);
    }

    #[test]
    fn reasons() {
        let check = |text: &str, want: &[(usize, &str)]| {
            expect("lb-ebpf/src/a.rs", &text.replace("UNSAFE", CODE), check, want);
        };
        check("UNSAFE { go() }\n", &[(1, "without a reason")]);
        check("// SAFETY: one.\nUNSAFE { go() }\nUNSAFE { go() }\n", &[(3, "without a reason")]);
        check("// SAFETY: long\n// reason.\nlet a =\n    UNSAFE { go() };\n", &[]);
        check("// SAFETY: for this.\n#[allow(x)]\nUNSAFE impl Pod for A {}\n", &[]);
        check("UNSAFE impl Pod for A {}\n", &[(1, "without a reason")]);
        check("UNSAFE fn a() {}\n", &[]);
    }
}
