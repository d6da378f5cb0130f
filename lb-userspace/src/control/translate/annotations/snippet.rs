//! Snippets: nginx text is never run, but an owner who wrote access rules into one must not stand open.

/// Words of nginx directives that keep somebody out, or answer before the backend does.
const PROTECTING: &[&str] = &[
    "allow",
    "deny",
    "auth",
    "satisfy",
    "return",
    "modsecurity",
    "secrule",
    "ssl_verify",
    "limit_except",
    "internal",
    "lua",
];

/// Whether a snippet may keep somebody out. Errs on the side of yes.
#[must_use]
pub fn protects(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    PROTECTING.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protection_is_found() {
        for (text, want) in [
            ("Deny all;", true),
            ("if ($http_x = 1) { return 403; }", true),
            ("more_set_headers \"X-Frame-Options: DENY\";", true),
            ("proxy_set_header X-A b;", false),
            ("", false),
        ] {
            assert_eq!(protects(text), want, "{text}");
        }
    }
}
