//! A proof and a certificate with every request: what each registration makes of that.

use shipbound::ErrorKind;
use shipbound::binding::dpop::Dpop;
use shipbound::binding::mtls::{DpopMtls, Mtls};
use shipbound::binding::{BindingKind, Confirmation};
use shipbound::token::TokenRequest;
use shipbound::transport::Stage;

use crate::certificates::registered;
use crate::seen::{self, SHIPMENTS, ship, statuses};
use crate::support::peers::{self, AuthorizationServer, CLIENT_SECRET};
use crate::support::shipper::{Setup, TENANT, certificate};

fn both(issuer: &AuthorizationServer) -> DpopMtls {
    Mtls::new(certificate(issuer, "client-ca")).and_dpop(Dpop::es256())
}

/// `oidc-provider` binds to the key alone. The certificate is shown to both servers all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_for_proofs_gets_tokens_that_are_bound_to_the_key() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "any"), ("RS_NONCE", "required")]);
    let x5t = certificate(&issuer, "client-ca").x5t().to_string();
    for client_id in ["basic", "dpop-only"] {
        let (asked_before, called_before) = (issuer.token_requests().len(), carrier.log().len());
        let client = Setup::new(&issuer, &carrier)
            .mtls(&issuer)
            .login(client_id, CLIENT_SECRET)
            .client(both(&issuer));
        let (made, _) = ship(&client.tenant(TENANT).unwrap()).await;
        let report = made.report();
        assert_eq!(report.binding, Some(BindingKind::DpopMtls));
        assert_eq!(report.x5t.unwrap().to_string(), x5t);
        let jkt = seen::jkt(&made);

        // Proofs are for the alias, since that is where they are sent.
        let asked = &issuer.token_requests()[asked_before..];
        assert_eq!(statuses(asked), [400, 200], "{client_id}");
        seen::token_requests(asked, &jkt, &format!("{}/token", issuer.mtls_base()));
        seen::nonces_follow(asked);
        let called = &carrier.log()[called_before..];
        assert_eq!(statuses(called), [401, 201], "{client_id}");
        seen::bound_requests(called, &jkt, carrier.base());
        for entry in asked.iter().chain(called) {
            assert_eq!(entry["cert_x5t"], x5t, "{entry}");
        }
        assert!(called.iter().all(|entry| entry["cnf_x5t"].is_null()));
    }
}

/// It refuses a proof of a client whose tokens are to be bound to its certificate. Neither is left out then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_for_certificates_is_refused() {
    let issuer = peers::authorization_server(&[]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "any")]);
    for client_id in ["tls-ca", "tls-dn", "basic-mtls-bound"] {
        let before = issuer.token_requests().len();
        let client = registered(&issuer, &carrier, client_id).client(both(&issuer));
        let tenant = client.tenant(TENANT).unwrap();
        let error = tenant.post(SHIPMENTS).json(&[1]).send().await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::TokenRefused(code) if code.as_str() == "invalid_request"),
            "{client_id}: {error}"
        );
        assert_eq!(error.stage(), Stage::NotSent);
        let asked = &issuer.token_requests()[before..];
        assert!(!asked.is_empty());
        for entry in asked {
            assert_eq!(entry["proof"], true, "{entry}");
            assert!(entry["cert_x5t"].is_string(), "{entry}");
        }
    }
    assert!(carrier.log().is_empty());
}

/// What the issuer says of such a token is less than what the client shows, and enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_issuer_says_which_of_the_two_it_is() {
    let issuer = peers::authorization_server(&[("DPOP_NONCE", "off")]);
    let carrier = issuer.resource_server(&[("RS_ENGINE", "auth0"), ("RS_BINDING", "any")]);
    let opaque = TokenRequest::new().resource(issuer.resource_opaque()).unwrap();
    let client = Setup::new(&issuer, &carrier)
        .mtls(&issuer)
        .ask(opaque)
        .client_with(both(&issuer), |builder| builder.confirm_binding());
    let tenant = client.tenant(TENANT).unwrap();
    let told = client.introspect(tenant.tenant()).await.unwrap();
    let lease = client.lease(tenant.tenant()).unwrap();
    assert_eq!(lease.binding(), BindingKind::DpopMtls);
    let x5t = certificate(&issuer, "client-ca").x5t();
    let [jkt @ Confirmation::Jkt(_), Confirmation::X5t(shown)] = lease.confirmations() else {
        panic!("{lease:?}")
    };
    assert_eq!(*shown, x5t);
    assert_eq!(told.confirmations(), [*jkt]);
    assert!(told.is_bound_to(lease.confirmations()));
}
