-- Users who sign in elsewhere: whom an outside issuer means by a subject.
CREATE TABLE outside_users (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id BLOB NOT NULL CONSTRAINT outside_users_user UNIQUE REFERENCES users (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
