//! How plain data is stored: SQL types that fit every database, and the values that go with them.

use std::io::Write as _;

use diesel::{
    backend::Backend,
    deserialize::{self, FromSql, Queryable},
    expression::AsExpression,
    internal::derives::as_expression::Bound,
    pg::{Pg, PgValue},
    serialize::{self, IsNull, Output, ToSql},
    sql_types::{BigInt, Binary, Nullable, SingleValue, Text},
    sqlite::Sqlite,
};
use uuid::Uuid;

use crate::model::{
    clock::Timestamp,
    conversation::{MemberRole, OnBusy},
    ids::{AuditId, ContextId, ConversationId, KeyId, MessageId, NodeId, NotificationId, SessionId, UserId},
    key::SigningAlgorithm,
    message::{MessageRole, MessageStatus},
    user::Role,
};

/// SQL types of this project.
pub(crate) mod sql {
    use diesel::{query_builder::QueryId, sql_types::SqlType};

    // The type numbers of PostgreSQL stand in its `pg_type.dat`; they never change.

    /// An identifier: `uuid`, or 16 bytes.
    #[derive(SqlType, QueryId, Clone, Copy, Default, Debug)]
    #[diesel(postgres_type(oid = 2950, array_oid = 2951))]
    #[diesel(sqlite_type(name = "Binary"))]
    pub struct Id;

    /// A point in time: `timestamptz`, or microseconds since 1970 UTC.
    #[derive(SqlType, QueryId, Clone, Copy, Default, Debug)]
    #[diesel(postgres_type(oid = 1184, array_oid = 1185))]
    #[diesel(sqlite_type(name = "Long"))]
    pub struct Instant;

    impl diesel::sql_types::SqlOrd for Id {}
    impl diesel::sql_types::SqlOrd for Instant {}
}

/// Makes a type of the model a value of an SQL type, with or without NULL.
macro_rules! value_of {
    ($sql:ty: $($value:ty),*) => {$(
        impl AsExpression<$sql> for $value {
            type Expression = Bound<$sql, $value>;
            fn as_expression(self) -> Self::Expression {
                Bound::new(self)
            }
        }

        impl<'a> AsExpression<$sql> for &'a $value {
            type Expression = Bound<$sql, &'a $value>;
            fn as_expression(self) -> Self::Expression {
                Bound::new(self)
            }
        }

        impl AsExpression<Nullable<$sql>> for $value {
            type Expression = Bound<Nullable<$sql>, $value>;
            fn as_expression(self) -> Self::Expression {
                Bound::new(self)
            }
        }

        impl<'a> AsExpression<Nullable<$sql>> for &'a $value {
            type Expression = Bound<Nullable<$sql>, &'a $value>;
            fn as_expression(self) -> Self::Expression {
                Bound::new(self)
            }
        }

        impl<DB: Backend> ToSql<Nullable<$sql>, DB> for $value
        where
            $value: ToSql<$sql, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
                <Self as ToSql<$sql, DB>>::to_sql(self, out)
            }
        }

        impl<ST: SingleValue, DB: Backend> Queryable<ST, DB> for $value
        where
            Self: FromSql<ST, DB>,
        {
            type Row = Self;
            fn build(row: Self) -> deserialize::Result<Self> {
                Ok(row)
            }
        }
    )*};
}

macro_rules! ids {
    ($($id:ty),*) => {
        value_of!(sql::Id: $($id),*);
        $(
            impl ToSql<sql::Id, Sqlite> for $id {
                fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
                    out.set_value(&self.as_uuid().as_bytes()[..]);
                    Ok(IsNull::No)
                }
            }

            impl ToSql<sql::Id, Pg> for $id {
                fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
                    out.write_all(self.as_uuid().as_bytes())?;
                    Ok(IsNull::No)
                }
            }

            impl FromSql<sql::Id, Pg> for $id {
                fn from_sql(raw: PgValue<'_>) -> deserialize::Result<Self> {
                    Ok(Self::from_uuid(Uuid::from_slice(raw.as_bytes())?))
                }
            }

            impl FromSql<sql::Id, Sqlite> for $id {
                fn from_sql(raw: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
                    let bytes = <Vec<u8> as FromSql<Binary, Sqlite>>::from_sql(raw)?;
                    Ok(Self::from_uuid(Uuid::from_slice(&bytes)?))
                }
            }
        )*
    };
}

macro_rules! words {
    ($($word:ty),*) => {
        value_of!(Text: $($word),*);
        $(
            impl<DB: Backend> ToSql<Text, DB> for $word
            where
                str: ToSql<Text, DB>,
            {
                fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
                    <str as ToSql<Text, DB>>::to_sql(self.as_str(), out)
                }
            }

            impl<DB: Backend> FromSql<Text, DB> for $word
            where
                String: FromSql<Text, DB>,
            {
                fn from_sql(raw: DB::RawValue<'_>) -> deserialize::Result<Self> {
                    Ok(String::from_sql(raw)?.parse()?)
                }
            }
        )*
    };
}

ids!(UserId, SessionId, ConversationId, MessageId, ContextId, NodeId, KeyId, NotificationId, AuditId);
words!(Role, SigningAlgorithm, OnBusy, MemberRole, MessageRole, MessageStatus);
value_of!(sql::Instant: Timestamp);

impl ToSql<sql::Instant, Sqlite> for Timestamp {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.as_micros());
        Ok(IsNull::No)
    }
}

impl FromSql<sql::Instant, Sqlite> for Timestamp {
    fn from_sql(raw: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self::from_micros(<i64 as FromSql<BigInt, Sqlite>>::from_sql(raw)?))
    }
}

/// PostgreSQL counts from the start of 2000 (its documentation, §8.5): this many microseconds after 1970.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

impl ToSql<sql::Instant, Pg> for Timestamp {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&(self.as_micros() - POSTGRES_EPOCH).to_be_bytes())?;
        Ok(IsNull::No)
    }
}

impl FromSql<sql::Instant, Pg> for Timestamp {
    fn from_sql(raw: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self::from_micros(i64::from_be_bytes(raw.as_bytes().try_into()?) + POSTGRES_EPOCH))
    }
}
