-- The one key that signs pushes: browsers are subscribed to it, so that it is never changed.
CREATE TABLE push_key (
    -- There is one row.
    number BIGINT PRIMARY KEY NOT NULL CHECK (number = 1),
    private_key BYTEA NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

-- Browsers that get what a user is notified of while no connection of the user's lives.
CREATE TABLE push_subscriptions (
    endpoint TEXT PRIMARY KEY NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    p256dh BYTEA NOT NULL,
    auth BYTEA NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ
);
CREATE INDEX push_subscriptions_by_user ON push_subscriptions (user_id, created_at);
