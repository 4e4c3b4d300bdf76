-- The one key that signs pushes: browsers are subscribed to it, so that it is never changed.
CREATE TABLE push_key (
    -- There is one row.
    number BIGINT PRIMARY KEY NOT NULL CHECK (number = 1),
    private_key BLOB NOT NULL,
    created_at BIGINT NOT NULL
);

-- Browsers that get what a user is notified of while no connection of the user's lives.
CREATE TABLE push_subscriptions (
    endpoint TEXT PRIMARY KEY NOT NULL,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    p256dh BLOB NOT NULL,
    auth BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT
);
CREATE INDEX push_subscriptions_by_user ON push_subscriptions (user_id, created_at);
