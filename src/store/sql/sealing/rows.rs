//! Rows of data keys.

use std::fmt;

use uuid::Uuid;

use crate::owner::{Owner, Tenant, TenantId};
use crate::store::seal::{DataKeyId, KekId, Wrapped};
use crate::store::sql::{Row, SqlError, Value};

/// Whose data key it is: a tenant's, in one incarnation, or the deployment's own.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Holder(Option<Tenant>);

impl Holder {
    pub(super) fn of(owner: &Owner) -> Self {
        Self(owner.connection().map(|connection| connection.tenant().clone()))
    }

    pub(super) fn tenant(&self) -> Option<&Tenant> {
        self.0.as_ref()
    }

    /// `tenant, incarnation`: both empty for the deployment's own.
    pub(super) fn values(&self) -> [Value; 2] {
        match &self.0 {
            Some(tenant) => [tenant.id().as_str().into(), tenant.incarnation().into()],
            None => ["".into(), "".into()],
        }
    }

    fn read(row: &Row, at: usize) -> Result<Self, SqlError> {
        if row.text(at)?.is_empty() && row.text(at + 1)?.is_empty() {
            return Ok(Self(None));
        }
        let id = TenantId::new(row.text(at)?).map_err(|_other| SqlError::Malformed)?;
        Ok(Self(Some(Tenant::new(id, row.uuid(at + 1)?))))
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A data key as it is written down.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) holder: Holder,
    pub(super) id: DataKeyId,
    pub(super) wrapped: Wrapped,
}

impl Written {
    /// From `tenant, incarnation, id, kek, wrapped`.
    pub(super) fn read(row: &Row) -> Result<Self, SqlError> {
        let id: Uuid = row.uuid(2)?;
        Ok(Self {
            holder: Holder::read(row, 0)?,
            id: DataKeyId::from_uuid(id),
            wrapped: Wrapped {
                kek: kek(row, 3)?,
                text: row.text(4)?.to_owned(),
            },
        })
    }
}

/// What could be read, the last one that could not, and where the next page begins.
pub(super) type Page = (Vec<Written>, Option<DataKeyId>, Option<String>);

/// Those of a page that can be read, the first of the others by its id, and where the next page begins; `None` at the end. A row
/// that was changed is no reason to stop before all behind it.
pub(super) fn page(rows: &[Row]) -> Result<Page, SqlError> {
    let mut broken = None;
    let mut written = Vec::new();
    for row in rows {
        match Written::read(row) {
            Ok(one) => written.push(one),
            Err(_) => broken = broken.or(Some(DataKeyId::from_uuid(row.uuid(2).unwrap_or_default()))),
        }
    }
    let next = rows.last().map(|row| row.text(2).map(str::to_owned)).transpose()?;
    Ok((written, broken, next))
}

pub(super) fn kek(row: &Row, at: usize) -> Result<KekId, SqlError> {
    KekId::new(row.text(at)?).map_err(|_other| SqlError::Malformed)
}
