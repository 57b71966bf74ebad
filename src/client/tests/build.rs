//! What does not fit together is no client, and says why.

use crate::binding::bearer::Bearer;
use crate::binding::dpop::Dpop;
#[cfg(feature = "mtls")]
use crate::binding::mtls::{MemoryCertificates, Mtls};
use crate::carriers::CarrierProfile;
use crate::client::{Client, ClientBuilder};
use crate::credentials::MemoryCredentials;
use crate::error::{Error, ErrorKind};
use crate::exchange::quirks::{Quirks, TokenAnswerShape};
use crate::jose::Algorithm;
use crate::keys::MemoryKeyStore;
use crate::parts::Parts;
use crate::rollout::Mode;
use crate::testing::Script;
use crate::token::assertion::{AssertionProfile, AssertionTyp, Audience};
use crate::token::client_auth::ClientAuth;
use crate::token::grant::{GrantType, TokenExchange};
use crate::token::{TokenAt, TokenRequest};

use super::setup::{ISSUER, Setup, at_endpoint, at_issuer, profile};

/// The text of the error that a builder gives; `None` for a client.
fn fault(outcome: Result<Client, Error>) -> Option<&'static str> {
    match outcome {
        Ok(_) => None,
        Err(error) => match error.kind() {
            ErrorKind::Build(text) => Some(text),
            other => panic!("{other:?}"),
        },
    }
}

fn built(profile: CarrierProfile, choose: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Option<&'static str> {
    fault(Setup::new().build(profile, choose))
}

fn by(grant: GrantType) -> TokenRequest {
    TokenRequest::new().grant(grant)
}

fn signed() -> ClientAuth {
    ClientAuth::PrivateKeyJwt(AssertionProfile::new())
}

fn dpop(builder: ClientBuilder) -> ClientBuilder {
    builder.binding(Dpop::es256())
}

#[test]
fn a_binding_is_chosen_by_name() {
    assert!(
        built(at_endpoint(), |builder| builder)
            .unwrap()
            .contains("no binding was chosen")
    );
    assert!(built(at_endpoint(), |builder| builder.mode(Mode::Off)).is_some());
    for bound in [true, false] {
        let chosen = |builder: ClientBuilder| if bound { dpop(builder) } else { builder.binding(Bearer) };
        assert_eq!(built(at_endpoint(), chosen), None);
    }
}

#[test]
fn a_client_that_says_who_it_is_by_its_certificate_must_show_one() {
    let tls = || at_endpoint().client_auth(ClientAuth::Tls);
    assert!(built(tls(), dpop).unwrap().contains("the binding shows none"));
    assert!(
        built(profile(TokenAt::Nowhere), dpop)
            .unwrap()
            .contains("without tokens")
    );
    #[cfg(feature = "mtls")]
    {
        let mtls = || Mtls::new(MemoryCertificates::new());
        assert_eq!(built(tls(), |builder| builder.binding(mtls())), None);
        assert_eq!(
            built(tls(), |builder| builder.binding(mtls().and_dpop(Dpop::es256()))),
            None
        );
        let off = built(tls(), |builder| builder.binding(mtls()).mode(Mode::Off));
        assert!(off.unwrap().contains("the binding shows none"));
        let nowhere = || profile(TokenAt::Nowhere);
        assert_eq!(built(nowhere(), |builder| builder.binding(mtls())), None);
        // A proof without a token says nothing.
        let both = built(nowhere(), |builder| builder.binding(mtls().and_dpop(Dpop::es256())));
        assert!(both.unwrap().contains("without tokens"));
    }
}

#[test]
fn an_assertion_must_be_for_somebody() {
    let elsewhere = || AssertionProfile::new().audience(Audience::Exactly("EU.EORI.NL000000004".to_owned()));
    for profile in [
        at_endpoint().client_auth(signed()),
        at_endpoint().token_request(by(GrantType::JwtBearer(AssertionProfile::new()))),
        at_endpoint()
            .client_auth(ClientAuth::PrivateKeyJwt(elsewhere()))
            .token_request(by(GrantType::JwtBearer(AssertionProfile::new()))),
    ] {
        assert!(built(profile, dpop).unwrap().contains("audience"));
    }
    assert_eq!(built(at_issuer().client_auth(signed()), dpop), None);
    let named = at_endpoint().client_auth(ClientAuth::PrivateKeyJwt(elsewhere()));
    assert_eq!(built(named, dpop), None);
}

#[test]
fn a_grant_needs_what_it_is_made_of() {
    let setup = Setup::new();
    let subject = || setup.build(at_endpoint(), dpop).unwrap();
    let exchange = || at_endpoint().token_request(by(GrantType::TokenExchange(TokenExchange::new())));
    assert!(built(exchange(), dpop).unwrap().contains("needs a subject"));
    assert!(
        built(at_endpoint(), |builder| dpop(builder).subject(subject()))
            .unwrap()
            .contains("a subject needs")
    );
    assert_eq!(built(exchange(), |builder| dpop(builder).subject(subject())), None);

    let parts = Parts::builder()
        .keys(MemoryKeyStore::new())
        .credentials(MemoryCredentials::new())
        .transport(Script::default());
    let parts = parts.build().unwrap();
    let without = Client::builder(at_endpoint().by_consent(), &parts)
        .binding(Dpop::es256())
        .build();
    assert!(fault(without).unwrap().contains("no grant store"));
    assert_eq!(built(at_endpoint().by_consent(), dpop), None);
}

fn fapi(profile: CarrierProfile, choose: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Option<&'static str> {
    built(profile, |builder| choose(builder).fapi2())
}

#[test]
fn fapi_holds_a_client_to_what_it_says() {
    let good = || at_issuer().client_auth(signed());
    assert_eq!(fapi(good(), dpop), None);
    let refused = |profile, reason: &str| {
        let text = fapi(profile, dpop).unwrap_or_else(|| panic!("{reason}"));
        assert!(text.starts_with("FAPI 2.0: ") && text.contains(reason), "{text}");
    };
    refused(at_endpoint().client_auth(signed()), "give the profile an issuer");
    refused(profile(TokenAt::Nowhere), "give the profile an issuer");
    refused(
        profile(TokenAt::Issuer("http://auth.carrier.example".to_owned())),
        "every URL is https",
    );
    refused(good().allow_origin("http://127.0.0.1:1"), "every URL is https");
    for secret in [ClientAuth::Basic, ClientAuth::Post, ClientAuth::None] {
        refused(at_issuer().client_auth(secret), "not with a secret");
    }
    let plain = AssertionProfile::new;
    for weaker in [
        plain().audience(Audience::TokenEndpoint),
        plain().audience(Audience::Exactly(ISSUER.to_owned())),
        plain().typ(AssertionTyp::Jwt),
        plain().typ(AssertionTyp::None),
        plain().legacy_rs256(),
    ] {
        refused(
            at_issuer().client_auth(ClientAuth::PrivateKeyJwt(weaker)),
            "assertions are for the issuer",
        );
    }
    refused(good().token_request(by(GrantType::JwtBearer(plain()))), "JWT-bearer");
    let quirk = |change: fn(&mut Quirks)| {
        let mut quirks = Quirks::default();
        change(&mut quirks);
        good().quirks(quirks)
    };
    refused(
        quirk(|quirks| quirks.code_without_authentication = true),
        "authenticated clients",
    );
    refused(
        quirk(|quirks| {
            quirks.token_answer = TokenAnswerShape {
                token_type_optional: true,
                ..TokenAnswerShape::default()
            };
        }),
        "token_type",
    );
}

#[test]
fn fapi_wants_bound_tokens() {
    let good = || at_issuer().client_auth(signed());
    let text = |choose: fn(ClientBuilder) -> ClientBuilder| fapi(good(), choose).unwrap_or("none");
    assert!(text(|builder| builder.binding(Bearer)).contains("tokens are bound"));
    assert!(text(|builder| dpop(builder).mode(Mode::Off)).contains("tokens are bound"));
    let old = |builder: ClientBuilder| builder.binding(Dpop::preferring([Algorithm::Es256, Algorithm::Rs256]));
    assert!(text(old).contains("proofs are signed with"));
    #[cfg(feature = "mtls")]
    {
        let mtls = || Mtls::new(MemoryCertificates::new());
        let tls = || at_issuer().client_auth(ClientAuth::Tls);
        assert_eq!(fapi(tls(), |builder| builder.binding(mtls())), None);
        assert_eq!(
            fapi(good(), |builder| builder.binding(mtls().and_dpop(Dpop::es256()))),
            None
        );
        assert!(fapi(tls(), dpop).unwrap().contains("the binding shows none"));
    }
}

#[test]
fn fapi_sets_what_is_left_open() {
    let setup = Setup::new();
    let choose = |builder: ClientBuilder| dpop(builder).fapi2();
    let client = setup
        .build(at_issuer().client_auth(signed()).by_consent(), choose)
        .unwrap();
    assert!(client.0.source.quirks.refresh_token_stays && client.0.source.fapi);
}
