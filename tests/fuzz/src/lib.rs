//! What is fuzzed, and what must hold for every input besides that nothing panics, hangs or overflows.

mod exchange;
mod identity;
mod jose;
mod keys;
mod seeds;
mod tokens;
mod uri;
mod verify;

/// One entrance for octets from outside.
pub struct Target {
    /// Its name, as `run.sh` takes it.
    pub name: &'static str,
    /// Panics when a property is broken.
    pub run: fn(&[u8]),
    /// Inputs to begin with: from the conformance vectors and the test keys.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

const fn target(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, seeds }
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("proof", verify::proof, seeds::proofs),
    target("signed-proof", verify::signed_proof, seeds::signed_proofs),
    target("request", verify::request, seeds::requests),
    target("jwk", jose::jwk, seeds::jwks),
    target("jws", jose::jws, seeds::jws),
    target("htu", uri::htu, seeds::htu),
    target("target", uri::target, seeds::targets),
    target("credential-route", uri::credential_route, seeds::credential_routes),
    target("nonce", exchange::nonce, seeds::nonces),
    target("challenge", exchange::challenge, seeds::challenges),
    target("token-answer", exchange::token_answer, seeds::token_answers),
    target("metadata", exchange::metadata, seeds::metadata),
    target("exchange", exchange::exchange, seeds::exchanges),
    target("key-pem", keys::pem, seeds::key_pem),
    target("key-der", keys::der, seeds::key_der),
    target("key-jwk", keys::jwk, seeds::key_jwk),
    target("identity-pem", identity::pem, seeds::identity_pem),
    target("identity-der", identity::der, seeds::identity_der),
    target("fault", exchange::fault, seeds::faults),
    target("introspection", tokens::introspection, seeds::introspection),
    target("pending", tokens::pending, seeds::pending),
];

/// `name: value` lines as a header map; what no HTTP stack would hand over is left out.
fn header_lines<'a>(lines: impl Iterator<Item = &'a [u8]>) -> http::HeaderMap {
    let mut headers = http::HeaderMap::new();
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let name = http::HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, http::HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// `text` at the first of `separator`, which goes.
fn cut<'a>(text: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    match text.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (&text[..at], &text[at + separator.len()..]),
        None => (text, b""),
    }
}
