//! Owners that nobody has used, and owners that look like them.

use uuid::Uuid;

use super::Found;
use crate::crypto;
use crate::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, InvalidId, Tenant, TenantId};

/// The parts of a connection, to be changed one by one.
#[derive(Clone)]
struct Parts {
    deployment: String,
    tenant: String,
    incarnation: Uuid,
    carrier: String,
    environment: Environment,
    account: String,
}

impl Parts {
    fn fresh() -> Result<Self, Found> {
        let mut octets = [0; 8];
        crypto::random(&mut octets)?;
        let number = u64::from_be_bytes(octets);
        Ok(Self {
            deployment: "default".to_owned(),
            tenant: format!("conformance-{number:016x}"),
            incarnation: Uuid::nil(),
            carrier: "ups".to_owned(),
            environment: Environment::Production,
            account: "main".to_owned(),
        })
    }

    fn connection(&self) -> Result<ConnectionId, InvalidId> {
        Ok(ConnectionId::new(
            DeploymentId::new(&self.deployment)?,
            Tenant::new(TenantId::new(&self.tenant)?, self.incarnation),
            CarrierId::new(&self.carrier)?,
            self.environment,
            AccountId::new(&self.account)?,
        ))
    }
}

/// A connection that no run has used before.
pub(super) fn fresh() -> Result<ConnectionId, Found> {
    Ok(Parts::fresh()?.connection()?)
}

/// A connection that no run has used before, and after it those that differ from it in one part: by case, by a character at
/// an end, by what joined text or a prefix would make equal.
pub(super) fn alike(deployments: bool) -> Result<Vec<ConnectionId>, Found> {
    let base = Parts::fresh()?;
    let tenant = base.tenant.as_str();
    let with = |change: &dyn Fn(&mut Parts)| {
        let mut parts = base.clone();
        change(&mut parts);
        parts.connection()
    };
    let mut all = vec![
        base.connection()?,
        with(&|parts| parts.incarnation = Uuid::max())?,
        with(&|parts| parts.incarnation = Uuid::from_u128(1))?,
        with(&|parts| parts.tenant = tenant.to_uppercase())?,
        with(&|parts| parts.tenant = format!("{tenant}."))?,
        with(&|parts| parts.tenant = format!("{tenant}_"))?,
        with(&|parts| parts.tenant = tenant.replacen('-', "_", 1))?,
        // The same text when parts are joined.
        with(&|parts| {
            parts.tenant = format!("{tenant}-ups");
            parts.carrier = "production".to_owned();
        })?,
        with(&|parts| parts.carrier = "ups-production".to_owned())?,
        with(&|parts| parts.carrier = "UPS".to_owned())?,
        with(&|parts| parts.carrier = "usps".to_owned())?,
        with(&|parts| parts.environment = Environment::Sandbox)?,
        with(&|parts| parts.account = "Main".to_owned())?,
        with(&|parts| parts.account = "main.".to_owned())?,
    ];
    if deployments {
        all.push(with(&|parts| parts.deployment = "default2".to_owned())?);
        all.push(with(&|parts| parts.deployment = "Default".to_owned())?);
    }
    Ok(all)
}
