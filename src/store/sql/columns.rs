//! An owner in a row: the hash by which it is found, and its parts for people and filters.

use uuid::Uuid;

use super::error::SqlError;
use super::value::{Row, Value};
use crate::crypto::Digest;
use crate::owner::{AccountId, CarrierId, ConnectionId, DeploymentId, Environment, Owner, Tenant, TenantId};

/// 64 hexadecimal digits: the hash of all parts of an owner.
pub(crate) fn owner_key(owner: &Owner) -> String {
    let mut parts = Digest::default();
    owner.digest_into(&mut parts);
    hex(&parts.finish())
}

pub(crate) fn hex(octets: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| DIGITS.get(usize::from(half)).map_or('0', |digit| char::from(*digit));
    let mut text = String::with_capacity(2 * octets.len());
    for octet in octets {
        text.push(digit(octet >> 4));
        text.push(digit(octet & 15));
    }
    text
}

/// `deployment, owner, tenant, incarnation, carrier, environment, account`, in this order.
pub(crate) fn owner_values(owner: &Owner) -> [Value; 7] {
    let (deployment, key) = (owner.deployment().as_str(), owner_key(owner));
    match owner {
        Owner::Connection(of) => [
            deployment.into(),
            key.into(),
            of.tenant().id().as_str().into(),
            of.tenant().incarnation().into(),
            of.carrier().as_str().into(),
            of.environment().as_str().into(),
            of.account().as_str().into(),
        ],
        Owner::Deployment(_) => {
            let none = || Value::from("");
            [deployment.into(), key.into(), none(), none(), none(), none(), none()]
        }
    }
}

/// The owner that stands in the seven columns from `at` on. Its parts must give the hash that stands beside them.
pub(crate) fn owner_of(row: &Row, at: usize) -> Result<Owner, SqlError> {
    let deployment = DeploymentId::new(row.text(at)?).map_err(|_other| SqlError::Malformed)?;
    let owner = if row.text(at + 2)?.is_empty() {
        Owner::Deployment(deployment)
    } else {
        Owner::Connection(connection_of(row, at, deployment)?)
    };
    if owner_key(&owner) == row.text(at + 1)? {
        Ok(owner)
    } else {
        Err(SqlError::Malformed)
    }
}

fn connection_of(row: &Row, at: usize, deployment: DeploymentId) -> Result<ConnectionId, SqlError> {
    let other = |_| SqlError::Malformed;
    let incarnation: Uuid = row.uuid(at + 3)?;
    let environment = match row.text(at + 5)? {
        "sandbox" => Environment::Sandbox,
        "production" => Environment::Production,
        _ => return Err(SqlError::Malformed),
    };
    Ok(ConnectionId::new(
        deployment,
        Tenant::new(TenantId::new(row.text(at + 2)?).map_err(other)?, incarnation),
        CarrierId::new(row.text(at + 4)?).map_err(other)?,
        environment,
        AccountId::new(row.text(at + 6)?).map_err(other)?,
    ))
}
