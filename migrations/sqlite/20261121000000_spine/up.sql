CREATE TABLE users (
    id BLOB PRIMARY KEY NOT NULL,
    username TEXT NOT NULL,
    -- Lower case: names are unique without regard to case.
    username_key TEXT NOT NULL CONSTRAINT users_username UNIQUE,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL CONSTRAINT users_email UNIQUE,
    display_name TEXT NOT NULL,
    role TEXT NOT NULL,
    is_active BOOLEAN NOT NULL,
    password_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- A session that ends is deleted, and its tokens with it.
CREATE TABLE sessions (
    id BLOB PRIMARY KEY NOT NULL,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    user_agent TEXT NOT NULL,
    address TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id, id);

-- Used tokens stay until their session goes: showing one again is how theft is noticed.
CREATE TABLE refresh_tokens (
    hash BLOB PRIMARY KEY NOT NULL,
    session_id BLOB NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

CREATE TABLE signing_keys (
    id BLOB PRIMARY KEY NOT NULL,
    algorithm TEXT NOT NULL,
    private_key BLOB NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE conversations (
    id BLOB PRIMARY KEY NOT NULL,
    title TEXT NOT NULL,
    model TEXT,
    on_busy TEXT NOT NULL,
    last_seq BIGINT NOT NULL,
    head_message_id BLOB,
    -- The message that opened it, as its sender names it: a retry finds the conversation by it.
    opened_by BLOB,
    opening_client_message_id TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT conversations_opening UNIQUE (opened_by, opening_client_message_id)
);

CREATE TABLE members (
    conversation_id BLOB NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    last_read_seq BIGINT NOT NULL,
    joined_at BIGINT NOT NULL,
    PRIMARY KEY (conversation_id, user_id)
);
CREATE INDEX members_by_user ON members (user_id);

CREATE TABLE contexts (
    id BLOB PRIMARY KEY NOT NULL,
    conversation_id BLOB NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    title TEXT NOT NULL,
    content TEXT NOT NULL,
    position BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT contexts_position UNIQUE (conversation_id, position)
);

CREATE TABLE messages (
    -- Names the row for the search index, which knows only integers.
    search_id INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    conversation_id BLOB NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    parent_id BLOB,
    -- Whether the message is on the conversation's chosen path.
    on_path BOOLEAN NOT NULL,
    role TEXT NOT NULL,
    author_id BLOB REFERENCES users (id) ON DELETE SET NULL,
    content TEXT NOT NULL,
    status TEXT NOT NULL,
    model TEXT,
    finish_reason TEXT,
    input_tokens BIGINT,
    output_tokens BIGINT,
    error_code TEXT,
    error_message TEXT,
    error_retryable BOOLEAN,
    client_message_id TEXT,
    is_deleted BOOLEAN NOT NULL,
    -- A run: who asked for it, who makes it and until when nobody else may, and whether it shall stop.
    requested_by BLOB,
    lease_owner BLOB,
    lease_until BIGINT,
    stop_requested BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT messages_seq UNIQUE (conversation_id, seq),
    CONSTRAINT messages_client_message_id UNIQUE (conversation_id, author_id, client_message_id)
);
CREATE INDEX messages_by_path ON messages (conversation_id, seq) WHERE on_path;
-- The answers to a message and, with NULL, the first messages of a conversation.
CREATE INDEX messages_by_parent ON messages (parent_id, conversation_id);
CREATE INDEX messages_by_lease ON messages (lease_until) WHERE lease_until IS NOT NULL;

-- What a run has written since it began; gone once the message holds the whole text.
CREATE TABLE run_chunks (
    message_id BLOB NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    -- In UTF-8 bytes of the answer.
    offset BIGINT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (message_id, offset)
) WITHOUT ROWID;

CREATE TABLE daily_usage (
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    message_count BIGINT NOT NULL,
    PRIMARY KEY (user_id, day, model)
) WITHOUT ROWID;

CREATE VIRTUAL TABLE message_search USING fts5 (
    content, content = 'messages', content_rowid = 'search_id', tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TRIGGER messages_searchable AFTER INSERT ON messages BEGIN
    INSERT INTO message_search (rowid, content) VALUES (new.search_id, new.content);
END;
CREATE TRIGGER messages_unsearchable AFTER DELETE ON messages BEGIN
    INSERT INTO message_search (message_search, rowid, content) VALUES ('delete', old.search_id, old.content);
END;
CREATE TRIGGER messages_research AFTER UPDATE OF content ON messages BEGIN
    INSERT INTO message_search (message_search, rowid, content) VALUES ('delete', old.search_id, old.content);
    INSERT INTO message_search (rowid, content) VALUES (new.search_id, new.content);
END;
