//! Statements that are prepared once for each connection. Diesel keeps queries prepared, and prepares what inserts and
//! updates anew each time, for its text may differ with the values: on PostgreSQL one more round trip for each.

use diesel::{
    QueryResult,
    backend::Backend,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
};

/// A statement whose text is one of very few: it stays prepared, found again by its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steady<S>(S);

/// Makes statements steady.
pub(super) trait Steadily: Sized {
    /// Keeps the statement prepared. Not for those with as many parameters as there are values, such as `IN` lists.
    fn steady(self) -> Steady<Self> {
        Steady(self)
    }
}

impl<S> Steadily for S {}

impl<S: QueryFragment<D>, D: Backend> QueryFragment<D> for Steady<S> {
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, D>) -> QueryResult<()> {
        self.0.walk_ast(pass)
    }

    fn is_safe_to_cache_prepared(&self, _: &D) -> QueryResult<bool> {
        Ok(true)
    }
}

/// Its type does not tell one statement from another; its text does.
impl<S> QueryId for Steady<S> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<S: Query> Query for Steady<S> {
    type SqlType = S::SqlType;
}
