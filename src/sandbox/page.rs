//! The pages of the authorization endpoint, for people and browsers.

use super::canned::Canned;

const STYLE: &str = "body{font-family:sans-serif;max-width:34rem;margin:4rem auto;padding:0 1rem}\
code{word-break:break-all}button{font-size:1rem;padding:.5rem 1.5rem;margin-right:1rem}";

/// Asks for a decision. The form is sent to `action`, with the ticket that it is good for.
pub(super) fn consent(client: &str, scope: Option<&str>, redirect_uri: &str, action: &str, ticket: &str) -> Canned {
    let mut scopes = String::new();
    for scope in scope.unwrap_or_default().split(' ').filter(|scope| !scope.is_empty()) {
        scopes.push_str(&format!("<li><code>{}</code></li>", escaped(scope)));
    }
    let asks = match scopes.is_empty() {
        true => "<p>It asks for no scope in particular.</p>".to_owned(),
        false => format!("<p>It asks for:</p><ul>{scopes}</ul>"),
    };
    let body = format!(
        "<h1>Allow access?</h1>\
         <p>The client <strong>{client}</strong> wants to act for you at the sandbox's carrier.</p>{asks}\
         <p>You will be sent to <code>{redirect_uri}</code>.</p>\
         <form method=\"post\" action=\"{action}\"><input type=\"hidden\" name=\"ticket\" value=\"{ticket}\">\
         <button name=\"decision\" value=\"allow\">Allow</button>\
         <button name=\"decision\" value=\"deny\">Deny</button></form>",
        client = escaped(client),
        redirect_uri = escaped(redirect_uri),
        action = escaped(action),
        ticket = escaped(ticket),
    );
    page(200, &body)
}

/// Says why there is nothing to decide, where the browser must not be sent on (RFC 6749 4.1.2.1).
pub(super) fn problem(error: &str) -> Canned {
    let words = "This authorization request cannot be served";
    page(400, &format!("<h1>{words}</h1><p><code>{}</code></p>", escaped(error)))
}

fn page(status: u16, body: &str) -> Canned {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>shipbound sandbox</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>{body}</body></html>"
    );
    Canned::bytes(status, "text/html; charset=utf-8", html)
        .header(
            "content-security-policy",
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
        )
        .header("x-content-type-options", "nosniff")
        .header("referrer-policy", "no-referrer")
        .no_store()
}

/// As text and as the value of a quoted attribute.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_comes_in_is_markup() {
        let evil = "<script>'\"&";
        for page in [consent(evil, Some(evil), evil, evil, evil), problem(evil)] {
            let html = String::from_utf8(page.body.to_vec()).unwrap();
            assert!(!html.contains("<script>"), "{html}");
            assert!(html.contains("&lt;script&gt;&#39;&quot;&amp;"), "{html}");
        }
    }
}
