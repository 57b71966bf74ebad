//! What goes into a statement and comes out of a row, the same for every database.

use uuid::Uuid;

use super::error::SqlError;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    /// Of another type, or no text: what nobody writes but by hand.
    Unreadable,
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// All 64 bits, in two's complement: what [`Row::u64`] gives back.
impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::from_be_bytes(number.to_be_bytes()))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

/// As text, 36 characters, so that people can read it.
impl From<Uuid> for Value {
    fn from(id: Uuid) -> Self {
        Self::Text(id.to_string())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row, its columns by their place in the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row(pub(super) Vec<Value>);

impl Row {
    pub(crate) fn int(&self, column: usize) -> Result<i64, SqlError> {
        self.opt_int(column)?.ok_or(SqlError::Malformed)
    }

    pub(crate) fn opt_int(&self, column: usize) -> Result<Option<i64>, SqlError> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            Some(Value::Int(number)) => Ok(Some(*number)),
            _ => Err(SqlError::Malformed),
        }
    }

    /// What `Value::from(u64)` wrote.
    pub(crate) fn u64(&self, column: usize) -> Result<u64, SqlError> {
        Ok(u64::from_be_bytes(self.int(column)?.to_be_bytes()))
    }

    pub(crate) fn text(&self, column: usize) -> Result<&str, SqlError> {
        self.opt_text(column)?.ok_or(SqlError::Malformed)
    }

    pub(crate) fn opt_text(&self, column: usize) -> Result<Option<&str>, SqlError> {
        match self.0.get(column) {
            Some(Value::Null) => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            _ => Err(SqlError::Malformed),
        }
    }

    pub(crate) fn bytes(&self, column: usize) -> Result<&[u8], SqlError> {
        match self.0.get(column) {
            Some(Value::Bytes(bytes)) => Ok(bytes),
            _ => Err(SqlError::Malformed),
        }
    }

    /// See [`uuid_in`].
    pub(crate) fn uuid(&self, column: usize) -> Result<Uuid, SqlError> {
        uuid_in(self.text(column)?)
    }
}

/// What `Value::from(Uuid)` wrote, in that form and no other.
pub(super) fn uuid_in(text: &str) -> Result<Uuid, SqlError> {
    let id = Uuid::try_parse(text).map_err(|_other| SqlError::Malformed)?;
    let mut written = Uuid::encode_buffer();
    if id.hyphenated().encode_lower(&mut written) == text {
        Ok(id)
    } else {
        Err(SqlError::Malformed)
    }
}
