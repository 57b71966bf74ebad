//! An owner in a row: the hash by which it is found, and its parts for people and filters.

use super::error::SqlError;
use super::value::{Row, Value, uuid_in};
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
        let [tenant, incarnation, carrier, environment, account] = [2, 3, 4, 5, 6].map(|part| row.text(at + part));
        let parts = [tenant?, incarnation?, carrier?, environment?, account?];
        Owner::Connection(connection_of(&deployment, parts)?)
    };
    if owner_key(&owner) == row.text(at + 1)? {
        Ok(owner)
    } else {
        Err(SqlError::Malformed)
    }
}

/// The connection of `deployment` that stands in one column: its hash, then its parts, with a space between them, which none of
/// them has. What reads every connection there is saves the copies of six columns.
pub(crate) fn connection_in(deployment: &DeploymentId, text: &str) -> Result<ConnectionId, SqlError> {
    let mut words = text.split(' ');
    let mut next = || words.next().ok_or(SqlError::Malformed);
    let key = next()?;
    let connection = connection_of(deployment, [next()?, next()?, next()?, next()?, next()?])?;
    let is_whole = words.next().is_none() && owner_key(&Owner::Connection(connection.clone())) == key;
    is_whole.then_some(connection).ok_or(SqlError::Malformed)
}

fn connection_of(
    deployment: &DeploymentId,
    [tenant, incarnation, carrier, environment, account]: [&str; 5],
) -> Result<ConnectionId, SqlError> {
    let other = |_| SqlError::Malformed;
    let environment = match environment {
        "sandbox" => Environment::Sandbox,
        "production" => Environment::Production,
        _ => return Err(SqlError::Malformed),
    };
    Ok(ConnectionId::new(
        deployment.clone(),
        Tenant::new(TenantId::new(tenant).map_err(other)?, uuid_in(incarnation)?),
        CarrierId::new(carrier).map_err(other)?,
        environment,
        AccountId::new(account).map_err(other)?,
    ))
}
