-- Sessions that nobody refreshes are cleared away by their end.
CREATE INDEX sessions_by_end ON sessions (expires_at);
