//! Owners that look alike.

use shipbound::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, Tenant, TenantId};
use uuid::Uuid;

pub(crate) fn connection(
    deployment: &str,
    tenant: &str,
    incarnation: u128,
    carrier: &str,
    account: &str,
) -> ConnectionId {
    ConnectionId::new(
        DeploymentId::new(deployment).unwrap(),
        Tenant::new(TenantId::new(tenant).unwrap(), Uuid::from_u128(incarnation)),
        CarrierId::new(carrier).unwrap(),
        Environment::Sandbox,
        AccountId::new(account).unwrap(),
    )
}

/// Owners of which each differs from the others in one part, or has the same text when its parts are joined.
pub(crate) fn alike() -> Vec<Owner> {
    let production = {
        let of = connection("d", "t", 0, "c", "main");
        ConnectionId::new(
            of.deployment().clone(),
            of.tenant().clone(),
            of.carrier().clone(),
            Environment::Production,
            of.account().clone(),
        )
    };
    let mut all: Vec<Owner> = [
        connection("d", "t", 0, "c", "main"),
        connection("D", "t", 0, "c", "main"),
        connection("d", "T", 0, "c", "main"),
        connection("d", "t", 1, "c", "main"),
        connection("d", "t", 0, "C", "main"),
        connection("d", "t", 0, "c", "Main"),
        connection("d", "t", 0, "c", "main-"),
        connection("d", "t-c", 0, "c", "main"),
        connection("d-t", "t", 0, "c", "main"),
        connection("d", "t", 0, "c-main", "main"),
        connection("d", "tc", 0, "c", "main"),
        connection("dt", "c", 0, "c", "main"),
        production,
    ]
    .into_iter()
    .map(Owner::Connection)
    .collect();
    all.push(Owner::Deployment(DeploymentId::new("d").unwrap()));
    all.push(Owner::Deployment(DeploymentId::new("D").unwrap()));
    all
}
