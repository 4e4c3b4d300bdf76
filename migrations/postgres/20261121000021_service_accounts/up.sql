-- What makes a user a service account: an API key, of which only the hash is kept, and what it is good for.
CREATE TABLE service_accounts (
    user_id UUID PRIMARY KEY NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key_hash BYTEA NOT NULL CONSTRAINT service_accounts_key UNIQUE,
    -- Words divided by spaces.
    scopes TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
