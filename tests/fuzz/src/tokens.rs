//! What an issuer says of a token, and a consent that comes back as text.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use shipbound::binding::Confirmation;
use shipbound::clock::Timestamp;
use shipbound::secret::PendingText;
use shipbound::token::consent::PendingConsent;
use shipbound::token::introspection::Introspection;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// A token that is called active has not ended, and is bound to nothing that the answer does not name.
pub(crate) fn introspection(data: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let Ok(token) = Introspection::read(StatusCode::OK, &headers, data, NOW) else {
        return;
    };
    let answer: serde_json::Value = serde_json::from_slice(data).expect("what was read is JSON");
    assert_eq!(answer["active"], true);
    assert!(token.expires_at().is_none_or(|end| end > NOW));
    assert!(token.good_until(NOW, std::time::Duration::from_secs(60)) > NOW);
    for confirmation in token.confirmations() {
        let (name, value) = match confirmation {
            Confirmation::Jkt(jkt) => ("jkt", jkt),
            Confirmation::X5t(x5t) => ("x5t#S256", x5t),
            other => panic!("{other:?}"),
        };
        assert_eq!(answer["cnf"][name], value.to_string());
    }
    assert_eq!(
        token.is_bound_to(token.confirmations()),
        !token.confirmations().is_empty()
    );
    assert!(!token.is_bound_to(&[]));
}

/// What was read is written as it was read.
pub(crate) fn pending(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(pending) = PendingConsent::from_text(&PendingText::new(text)) {
        let written = pending.to_text();
        let again = PendingConsent::from_text(&written).expect("what was written can be read");
        assert_eq!(again.to_text().expose(), written.expose());
    }
}
