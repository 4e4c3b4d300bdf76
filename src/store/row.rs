//! Rows of any shape, as texts: for an operator's eyes.

use diesel::{
    backend::Backend,
    deserialize::{self, FromSql, QueryableByName},
    pg::{Pg, PgValue},
    row::{Field as _, NamedRow, Row as Fields},
    sql_types::{BigInt, Binary, Bool, Double, Integer, SmallInt, Text},
    sqlite::{Sqlite, SqliteType},
};
use uuid::Uuid;

use super::types::sql;
use crate::model::clock::Timestamp;

/// A row: each column's name and its value, NULL being `None`.
#[derive(Clone, Debug)]
pub struct Row(Vec<(String, Option<String>)>);

impl Row {
    /// The names of the columns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The values, NULL being `NULL`.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, value)| value.as_deref().unwrap_or("NULL"))
    }
}

impl QueryableByName<Sqlite> for Row {
    fn build<'a>(row: &impl NamedRow<'a, Sqlite>) -> deserialize::Result<Self> {
        read(row, |value| match value.value_type() {
            Some(SqliteType::Binary) => Ok(bytes(&<Vec<u8> as FromSql<Binary, Sqlite>>::from_sql(value)?)),
            _ => <String as FromSql<Text, Sqlite>>::from_sql(value),
        })
    }
}

impl QueryableByName<Pg> for Row {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        // By the numbers of PostgreSQL's `pg_type.dat`.
        read(row, |value: PgValue<'_>| match value.get_oid().get() {
            16 => Ok(<bool as FromSql<Bool, Pg>>::from_sql(value)?.to_string()),
            20 => Ok(<i64 as FromSql<BigInt, Pg>>::from_sql(value)?.to_string()),
            21 => Ok(<i16 as FromSql<SmallInt, Pg>>::from_sql(value)?.to_string()),
            23 => Ok(<i32 as FromSql<Integer, Pg>>::from_sql(value)?.to_string()),
            701 => Ok(<f64 as FromSql<Double, Pg>>::from_sql(value)?.to_string()),
            1184 => Ok(<Timestamp as FromSql<sql::Instant, Pg>>::from_sql(value)?.to_string()),
            19 | 25 | 1043 => <String as FromSql<Text, Pg>>::from_sql(value),
            _ => Ok(bytes(value.as_bytes())),
        })
    }
}

fn read<'a, DB: Backend>(
    row: &impl NamedRow<'a, DB>,
    text: impl Fn(DB::RawValue<'_>) -> deserialize::Result<String>,
) -> deserialize::Result<Row> {
    let mut columns = Vec::with_capacity(row.field_count());
    for index in 0..row.field_count() {
        let field = Fields::get(row, index).ok_or("a row is shorter than it says")?;
        let value = field.value().map(&text).transpose()?;
        columns.push((field.field_name().unwrap_or_default().to_owned(), value));
    }
    Ok(Row(columns))
}

/// An id as people write it; other bytes in hexadecimal digits.
fn bytes(bytes: &[u8]) -> String {
    match Uuid::from_slice(bytes) {
        Ok(id) => id.to_string(),
        Err(_) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
