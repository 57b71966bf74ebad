//! What the program says of itself, and of a command line that is wrong.

use std::fmt;

pub(crate) const USAGE: &str = "\
Sends requests with bound tokens to any server: curl, with the token and the proofs made on the way.

    call [OPTIONS] METHOD URL    sends a request
    call probe [OPTIONS]         says what the issuer can do and what tokens would be bound to; shows no credential
    call revoke [OPTIONS]        asks for a token that nobody else uses, and has the issuer revoke it
    call introspect [OPTIONS]    asks for a token, and asks the issuer whether it is active and bound as it is used

METHOD URL, revoke and introspect need --issuer or --token-url, --client-id, --binding and what --auth needs.
probe needs --issuer alone; its binding is dpop unless another is given.

Issuer:
    --issuer URL               read the endpoints from this issuer's metadata (RFC 8414, OpenID Connect Discovery)
    --token-url URL            use this token endpoint, without metadata
    --revocation-url URL       beside --token-url: where tokens are revoked (RFC 7009)
    --introspection-url URL    beside --token-url: where the issuer is asked about tokens (RFC 7662)
    --allow-origin ORIGIN      let the issuer's metadata name endpoints there, such as those for client certificates;
                               may be repeated

Who asks:
    --client-id ID             the client's id
    --auth METHOD              how the client authenticates (default basic)
        basic, post            client_secret_basic, client_secret_post: needs --client-secret-env
        private-key-jwt        private_key_jwt (RFC 7523): needs --assertion-key
        tls                    tls_client_auth, self_signed_tls_client_auth (RFC 8705): needs a binding with mtls
        none                   a public client
    --client-secret-env VAR    the environment variable that holds the client's secret
    --assertion-key FILE       the private key that signs assertions: PEM or a JWK, unencrypted; RSA in a build with
                               --features rsa
    --assertion-kid KID        the key's id at the issuer (default: the JWK's kid, else the key's thumbprint)
    --assertion-audience A     issuer (default), token-endpoint, or a text of your own

Token:
    --binding dpop|bearer|mtls|dpop+mtls
                               how the token is bound; a token that is not bound as asked is refused
    --alg ES256|Ed25519|PS256  the proof key's algorithm (default ES256); PS256 needs a build with --features rsa
    --cert FILE                the client certificate for mtls and dpop+mtls: PEM, those of its authorities after it; or
                               PKCS#12 (.p12, .pfx), in a build with --features pkcs12
    --key FILE                 its unencrypted private key in PEM; not needed where --cert holds it too
    --cert-password-env VAR    the environment variable that holds the password of the PKCS#12 file
    --scope S                  ask for these scopes, separated by spaces; may be repeated
    --resource R               ask for a token for this resource (RFC 8707); may be repeated
    --confirm-binding          ask the issuer about each token before it is used: is it really bound? (RFC 7662)
    --fapi2                    insist on the FAPI 2.0 Security Profile

Network:
    --ca FILE                  trust the certificates in this PEM file too
    --allow-http-loopback      take http:// URLs, on loopback addresses only

Request (METHOD URL):
    --body FILE                send this file; Content-Type is application/json where it is JSON
    --repeat N                 send the request N times (default 1), all with one token
    --concurrency N            at most N at a time (default 1)
    --reload-cert-after N      after N answers read --cert and --key again, while the other requests go on, and after
                               each further answer until there is a newer certificate

Output:
    --json                     print JSON and nothing else: one object a request; of probe, revoke and introspect one
                               object a thing, then a summary with \"ok\"

The answer's body goes to standard output when there is one request and no --json; what the call took goes to standard
error then, and to standard output otherwise. RUST_LOG (a level, or target=level,..) shows what happens inside.

Exit status: 0 when everything went as it must (every answer was 2xx; probe: there would be a token; revoke: the issuer
revoked it; introspect: it is active and bound as used), 1 when something did not, 2 for bad usage: nothing was sent.
";

/// What is wrong with the command line or with what it names, and what to do.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<lexopt::Error> for Usage {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}

pub(crate) fn wrong<T>(text: impl Into<String>) -> Result<T, Usage> {
    Err(Usage(text.into()))
}
