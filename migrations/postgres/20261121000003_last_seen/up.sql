-- When the user was last there, to the minute while the user is.
ALTER TABLE users ADD COLUMN last_seen_at TIMESTAMPTZ;
