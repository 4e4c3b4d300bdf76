CREATE TABLE notifications (
    id UUID PRIMARY KEY NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    title TEXT NOT NULL,
    content TEXT NOT NULL,
    notification_type TEXT NOT NULL,
    -- JSON, in its creator's words.
    action TEXT,
    related_entity_type TEXT,
    related_entity_id TEXT,
    -- A retry of the one who made it finds it by this.
    idempotency_key TEXT,
    -- When it reached its user; until then it is brought on return.
    delivered_at TIMESTAMPTZ,
    read_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT notifications_idempotency UNIQUE (user_id, idempotency_key)
);
CREATE INDEX notifications_by_user ON notifications (user_id, id);
CREATE INDEX notifications_unread ON notifications (user_id, id) WHERE read_at IS NULL;
CREATE INDEX notifications_undelivered ON notifications (user_id, id) WHERE delivered_at IS NULL;
