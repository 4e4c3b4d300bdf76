-- What admins did and tried. It outlives whoever did it and whom it was done to.
CREATE TABLE audit_log (
    id BLOB PRIMARY KEY NOT NULL,
    created_at BIGINT NOT NULL,
    admin_id BLOB NOT NULL,
    action TEXT NOT NULL,
    target_kind TEXT NOT NULL,
    target_id TEXT NOT NULL,
    address TEXT NOT NULL,
    request_id TEXT NOT NULL,
    -- `ok`, or why it was refused.
    result TEXT NOT NULL,
    -- A JSON object of texts.
    details TEXT NOT NULL
);
CREATE INDEX audit_log_by_time ON audit_log (created_at, id);
CREATE INDEX audit_log_by_admin ON audit_log (admin_id, created_at, id);
CREATE INDEX audit_log_by_target ON audit_log (target_id, created_at, id);

-- Who administers is asked whenever that changes; what everybody's answers cost is listed by day.
CREATE INDEX users_by_role ON users (role);
CREATE INDEX daily_usage_by_day ON daily_usage (day, user_id, model);
