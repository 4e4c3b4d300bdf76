-- The runs that last, by conversation and by node: few, however many messages there are.
CREATE INDEX messages_running ON messages (conversation_id, seq) WHERE lease_owner IS NOT NULL;
CREATE INDEX messages_by_lease_owner ON messages (lease_owner) WHERE lease_owner IS NOT NULL;
