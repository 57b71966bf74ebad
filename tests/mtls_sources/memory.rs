use shipbound::binding::mtls::{CertificateSource, MemoryCertificates};
use shipbound::owner::{Environment, TenantId};
use shipbound::transport::identity::{ClientIdentity, IdentityError};

use super::{Pair, carrier, connection};

fn put(source: &MemoryCertificates, tenant: &str, identity: &ClientIdentity) {
    let tenant = TenantId::new(tenant).unwrap();
    source.put(tenant, &carrier(), Environment::Sandbox, identity.clone());
}

#[tokio::test]
async fn each_connection_has_its_own_and_the_rest_have_none() {
    let source = MemoryCertificates::new();
    let pair = Pair::new();
    let tenants: Vec<_> = (0..10_000).map(|number| format!("t{number}")).collect();
    // Certificates read anew are identities of their own.
    let identities: Vec<_> = tenants.iter().map(|_| pair.identity()).collect();
    for (tenant, identity) in tenants.iter().zip(&identities) {
        put(&source, tenant, identity);
    }
    for (tenant, identity) in tenants.iter().zip(&identities) {
        assert_eq!(source.identity(&connection(tenant)).await.as_ref(), Ok(identity));
    }
    for other in ["t10000", "T1", "t"] {
        assert_eq!(source.identity(&connection(other)).await, Err(IdentityError::Missing));
    }
    assert_eq!(source.held().len(), 1);
    assert!(identities.iter().all(|identity| !identity.is_retired()));

    let next = Pair::new().identity();
    for tenant in tenants.iter().step_by(10) {
        put(&source, tenant, &next);
    }
    for (number, identity) in identities.iter().enumerate() {
        assert_eq!(identity.is_retired(), number % 10 == 0, "{number}");
    }
}

#[tokio::test]
async fn an_identity_is_retired_when_the_last_connection_has_left_it() {
    let source = MemoryCertificates::new();
    let (shared, next) = (Pair::new().identity(), Pair::new().identity());
    put(&source, "a", &shared);
    put(&source, "b", &shared);
    // Over itself nothing is exchanged.
    put(&source, "a", &shared);
    assert!(!shared.is_retired());
    put(&source, "a", &next);
    assert!(!shared.is_retired());
    assert_eq!(source.held().len(), 2);
    source.remove(&connection("b"));
    assert!(shared.is_retired());
    assert_eq!(source.identity(&connection("b")).await, Err(IdentityError::Missing));
    assert_eq!(source.identity(&connection("a")).await, Ok(next.clone()));
    assert!(!next.is_retired());
}

#[tokio::test]
async fn the_same_certificate_put_anew_changes_nothing_unless_it_was_retired() {
    let source = MemoryCertificates::new();
    let pair = Pair::new();
    let (first, again) = (pair.identity(), pair.identity());
    put(&source, "a", &first);
    put(&source, "a", &again);
    assert!(!first.is_retired());
    assert_eq!(source.identity(&connection("a")).await.as_ref(), Ok(&first));
    first.retire();
    put(&source, "a", &again);
    assert_eq!(source.identity(&connection("a")).await, Ok(again));
}

#[test]
fn debug_counts() {
    let source = MemoryCertificates::new();
    put(&source, "a", &Pair::new().identity());
    assert_eq!(format!("{source:?}"), "MemoryCertificates { connections: 1 }");
}
