//! What shippers read. Everything that comes from elsewhere is escaped.

use axum::response::Html;
use shipbound::Error;
use shipbound::error::ErrorKind;
use shipbound::token::consent::ConsentError;

use crate::session::Account;

/// The style of every page, which the content security policy knows by its hash.
pub(crate) const STYLE: &str = include_str!("style.css");

/// The account's page, with the button where it is not connected.
pub(crate) fn account(carrier: &str, account: &Account) -> Html<String> {
    match account {
        Account::Unknown => page(
            &format!("Connect your {carrier} account"),
            &format!(
                "<p>Parcel Desk buys labels for you, with your own {carrier} account and at your own rates.</p>\
                 <p>{carrier} will ask you whether you allow that. Your password stays with {carrier}, and you can take the \
                 consent back there at any time.</p>{}",
                button(&format!("Connect {carrier}"))
            ),
        ),
        Account::Connected(labels) => {
            let rows: String = labels
                .iter()
                .map(|label| {
                    format!(
                        "<tr><td>{}</td><td>{}</td><td>{} token</td></tr>",
                        escaped(&label.tracking),
                        label.status,
                        label.token.name()
                    )
                })
                .collect();
            let labels = match rows.is_empty() {
                true => "<p>No label could be bought yet.</p>".to_owned(),
                false => format!(
                    "<p>These labels were bought with it:</p><table><thead><tr><th>Tracking number</th><th>Status</th>\
                     <th>With the</th></tr></thead><tbody>{rows}</tbody></table>"
                ),
            };
            page(
                &format!("Your {carrier} account is connected"),
                &format!("<p class=\"good\">{carrier} has confirmed your consent.</p>{labels}"),
            )
        }
        Account::NotConnected(why) => page(
            &format!("Your {carrier} account is not connected"),
            &format!("<p class=\"bad\">{}</p>{}", escaped(why), button("Try again")),
        ),
    }
}

/// An answer of the carrier's that nothing in this browser's session asked for.
pub(crate) fn not_begun(carrier: &str) -> Html<String> {
    page(
        "This link is not yours to use",
        &format!(
            "<p class=\"bad\">No connection to {carrier} is under way in this browser, or it has ended already. Nothing was \
             changed.</p><p><a href=\"/\">Back to your account</a></p>"
        ),
    )
}

pub(crate) fn no_session() -> Html<String> {
    page(
        "Please begin again",
        "<p class=\"bad\">Your session has ended, or your browser sends no cookies.</p><p><a href=\"/\">Begin again</a></p>",
    )
}

pub(crate) fn not_found() -> Html<String> {
    page("There is no such page", "<p><a href=\"/\">Back to your account</a></p>")
}

/// Why a consent came to nothing, in words for the shipper.
pub(crate) fn reason(carrier: &str, error: &Error) -> String {
    match error.kind() {
        ErrorKind::Consent(ConsentError::Refused(code)) if code.to_string() == "access_denied" => {
            format!("You did not allow the connection at {carrier}. Nothing was changed.")
        }
        ErrorKind::Consent(ConsentError::Refused(code)) => format!("{carrier} refused the connection ({code})."),
        ErrorKind::Consent(ConsentError::Expired) => {
            format!("More than half an hour went by at {carrier}. Please begin again.")
        }
        ErrorKind::Consent(ConsentError::State | ConsentError::Issuer) => format!(
            "The answer did not belong to the connection that you began here, so it was not used. If you did not follow a \
             link from elsewhere, please tell us. You can begin again: only {carrier}'s own page should send you back here."
        ),
        ErrorKind::Consent(_) => format!("{carrier}'s answer could not be used. Please begin again."),
        ErrorKind::TokenRefused(_) => {
            format!("{carrier} did not accept the consent; it may be too old. Please begin again.")
        }
        _ => format!("{carrier} cannot be reached at the moment. Please try again later."),
    }
}

fn button(words: &str) -> String {
    format!(
        "<form method=\"post\" action=\"/connect\"><button>{}</button></form>",
        escaped(words)
    )
}

fn page(title: &str, body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} · Parcel Desk</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\
         <body><header>Parcel Desk</header><main><h1>{title}</h1>{body}</main>\
         <footer>An example of shipbound. The carrier is a sandbox on this machine.</footer></body></html>"
    ))
}

/// As text, and as the value of a quoted attribute.
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
