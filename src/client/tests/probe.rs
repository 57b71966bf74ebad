//! What a probe says, word for word.

use futures_util::FutureExt;

use crate::binding::BindingKind;
use crate::binding::bearer::Bearer;
use crate::binding::dpop::Dpop;
#[cfg(feature = "mtls")]
use crate::binding::mtls::{MemoryCertificates, Mtls};
use crate::client::{ClientBuilder, Outlook, Probe};
#[cfg(feature = "mtls")]
use crate::token::metadata::{IssuerEndpoint, MetadataError};

use super::setup::{Setup, at_endpoint, at_issuer, document, tenant};

fn probed(choose: impl FnOnce(ClientBuilder) -> ClientBuilder, extra: &str) -> Probe {
    let setup = Setup::new();
    let client = setup.build(at_issuer(), choose).unwrap();
    setup.script.add([document(extra)]);
    let probe = client.probe(&tenant()).now_or_never().unwrap().unwrap();
    let seen = setup.script.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].headers.get("authorization").is_none() && seen[0].proof().is_none());
    #[cfg(feature = "mtls")]
    assert!(seen[0].x5t.is_none());
    probe
}

fn dpop(builder: ClientBuilder) -> ClientBuilder {
    builder.binding(Dpop::es256())
}

/// What stands behind `this client gets`, and the outlook.
fn outlook(choose: impl FnOnce(ClientBuilder) -> ClientBuilder, extra: &str) -> (Outlook, String) {
    let probe = probed(choose, extra);
    let text = probe.to_string();
    let last = text.lines().last().unwrap();
    let words = last.strip_prefix("this client gets  ").unwrap().to_owned();
    (probe.outlook, words)
}

const PROOFS: &str = r#","dpop_signing_alg_values_supported":["ES256","PS256"]"#;
#[cfg(feature = "mtls")]
const CERTIFICATES: &str = r#","tls_client_certificate_bound_access_tokens":true"#;

#[test]
fn all_that_an_issuer_says() {
    let extra = r#","dpop_signing_alg_values_supported":["ES256","PS256"],
        "tls_client_certificate_bound_access_tokens":true,
        "token_endpoint_auth_methods_supported":["private_key_jwt","client_secret_basic"],
        "grant_types_supported":["client_credentials"],
        "revocation_endpoint":"https://auth.carrier.example/revoke",
        "mtls_endpoint_aliases":{"token_endpoint":"https://auth.carrier.example/mtls"}"#;
    assert_eq!(
        probed(dpop, extra).to_string(),
        "issuer            https://auth.carrier.example\n\
         proof keys        the issuer binds tokens to proof keys (DPoP, RFC 9449): ES256, PS256\n\
         certificates      the issuer binds tokens to client certificates (RFC 8705); it has endpoints of their own for such clients\n\
         authentication    private_key_jwt, client_secret_basic; this client uses client_secret_basic, which is among them\n\
         grants            client_credentials\n\
         endpoints         token endpoint, revocation endpoint\n\
         this client gets  tokens bound to a proof key: it was built so, and the issuer offers it"
    );
}

#[test]
fn an_issuer_that_says_little() {
    assert_eq!(
        probed(dpop, r#","token_endpoint_auth_methods_supported":["private_key_jwt"]"#).to_string(),
        "issuer            https://auth.carrier.example\n\
         proof keys        the issuer does not say whether it knows DPoP (RFC 9449)\n\
         certificates      the issuer does not say whether it binds tokens to client certificates (RFC 8705)\n\
         authentication    private_key_jwt; this client uses client_secret_basic, which is NOT among them: it will probably be refused\n\
         grants            the issuer does not say\n\
         endpoints         token endpoint\n\
         this client gets  tokens bound to a proof key, or none: it was built so, and the issuer does not say whether it does that. A token that is declared unbound is refused"
    );
    let silent = r#","dpop_signing_alg_values_supported":[],"tls_client_certificate_bound_access_tokens":false"#;
    let text = probed(|builder| builder.binding(Bearer), silent).to_string();
    for line in [
        "proof keys        the issuer takes no proofs (DPoP, RFC 9449)\n",
        "certificates      the issuer binds no tokens to client certificates (RFC 8705)\n",
        "authentication    the issuer does not say; this client uses client_secret_basic\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn an_issuer_without_metadata_is_not_asked() {
    let setup = Setup::new();
    let client = setup.build(at_endpoint(), dpop).unwrap();
    let probe = client.probe(&tenant()).now_or_never().unwrap().unwrap();
    assert!(setup.script.seen().is_empty());
    assert_eq!((probe.issuer.as_ref(), probe.capabilities.as_ref()), (None, None));
    assert_eq!(
        probe.to_string(),
        "issuer            it has no metadata: endpoints are fixed in the profile\n\
         this client gets  tokens bound to a proof key, or none: it was built so, and the issuer does not say whether it does that. A token that is declared unbound is refused"
    );
}

#[cfg(feature = "mtls")]
#[test]
fn who_has_no_tokens_is_told_so() {
    let setup = Setup::new();
    let profile = super::setup::profile(crate::token::TokenAt::Nowhere);
    let mtls = |builder: ClientBuilder| builder.binding(Mtls::new(MemoryCertificates::new()));
    let client = setup.build(profile, mtls).unwrap();
    let probe = client.probe(&tenant()).now_or_never().unwrap().unwrap();
    assert!(setup.script.seen().is_empty());
    assert_eq!(probe.outlook, Outlook::NoTokens);
    assert_eq!(
        probe.to_string(),
        "issuer            there is none\n\
         this client gets  no tokens, and needs none: its client certificate alone says who calls"
    );
}

#[test]
fn clients_without_a_binding_hear_what_they_could_have() {
    let bearer = |builder: ClientBuilder| builder.binding(Bearer);
    let (told, words) = outlook(bearer, "");
    assert_eq!(told, Outlook::Unbound { offered: Vec::new() });
    assert_eq!(
        words,
        "bearer tokens, kept to the carrier's origins: it was built so, and the issuer offers nothing to bind them to"
    );
    let both = format!(r#"{PROOFS},"tls_client_certificate_bound_access_tokens":true"#);
    let (told, words) = outlook(bearer, &both);
    let offered = vec![BindingKind::Dpop, BindingKind::Mtls];
    assert_eq!(told, Outlook::Unbound { offered });
    assert_eq!(
        words,
        "bearer tokens, kept to the carrier's origins: it was built so. The issuer would bind them to a proof key, or to its client certificate"
    );
}

#[test]
fn no_algorithm_in_common_is_no_token() {
    for listed in [r#"["PS256","HS256"]"#, "[]"] {
        let (told, words) = outlook(dpop, &format!(r#","dpop_signing_alg_values_supported":{listed}"#));
        assert_eq!(told, Outlook::NoCommonAlgorithm);
        assert_eq!(
            words,
            "no tokens: the issuer takes none of the proof algorithms that it was built with"
        );
    }
}

#[cfg(feature = "mtls")]
#[test]
fn clients_with_a_certificate() {
    let mtls = |builder: ClientBuilder| builder.binding(Mtls::new(MemoryCertificates::new()));
    let both = |builder: ClientBuilder| builder.binding(Mtls::new(MemoryCertificates::new()).and_dpop(Dpop::es256()));
    assert_eq!(
        outlook(mtls, CERTIFICATES),
        (
            Outlook::Bound(BindingKind::Mtls),
            "tokens bound to its client certificate: it was built so, and the issuer offers it".to_owned()
        )
    );
    for extra in [CERTIFICATES, PROOFS] {
        assert_eq!(
            outlook(both, extra),
            (
                Outlook::Bound(BindingKind::DpopMtls),
                "tokens bound to a proof key or its client certificate: it was built so, and the issuer offers it"
                    .to_owned()
            )
        );
    }
    assert_eq!(outlook(mtls, PROOFS).0, Outlook::Untold(BindingKind::Mtls));
    let (told, words) = outlook(mtls, r#","tls_client_certificate_bound_access_tokens":false"#);
    assert_eq!(told, Outlook::Refused(MetadataError::NoCertificateBinding));
    assert_eq!(
        words,
        "no tokens: the issuer says that it binds no tokens to client certificates"
    );
    let partial = r#","revocation_endpoint":"https://auth.carrier.example/revoke",
        "mtls_endpoint_aliases":{"token_endpoint":"https://auth.carrier.example/mtls"}"#;
    let (told, words) = outlook(mtls, partial);
    assert_eq!(
        told,
        Outlook::Refused(MetadataError::PartialAliases(IssuerEndpoint::Revocation))
    );
    assert_eq!(
        words,
        "no tokens: the issuer has aliases for mutual TLS, but none for its revocation endpoint"
    );
    // Of no concern to a client that shows none.
    assert_eq!(outlook(dpop, partial).0, Outlook::Untold(BindingKind::Dpop));
}
