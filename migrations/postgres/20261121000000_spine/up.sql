-- A text whose letters stand without their marks: nobody who searches types all of them.
CREATE FUNCTION unmarked(text TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN regexp_replace(normalize(text, NFKD), '[\u0300-\u036f]', '', 'g');

CREATE TABLE users (
    id UUID PRIMARY KEY NOT NULL,
    username TEXT NOT NULL,
    -- Lower case: names are unique without regard to case.
    username_key TEXT COLLATE "C" NOT NULL CONSTRAINT users_username UNIQUE,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL CONSTRAINT users_email UNIQUE,
    display_name TEXT NOT NULL,
    role TEXT NOT NULL,
    is_active BOOLEAN NOT NULL,
    password_hash TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

-- A session that ends is deleted, and its tokens with it.
CREATE TABLE sessions (
    id UUID PRIMARY KEY NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    user_agent TEXT NOT NULL,
    address TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    last_used_at TIMESTAMPTZ NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id, id);

-- Used tokens stay until their session goes: showing one again is how theft is noticed.
CREATE TABLE refresh_tokens (
    hash BYTEA PRIMARY KEY NOT NULL,
    session_id UUID NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    created_at TIMESTAMPTZ NOT NULL,
    used_at TIMESTAMPTZ
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

CREATE TABLE signing_keys (
    id UUID PRIMARY KEY NOT NULL,
    algorithm TEXT NOT NULL,
    private_key BYTEA NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE conversations (
    id UUID PRIMARY KEY NOT NULL,
    title TEXT NOT NULL,
    model TEXT,
    on_busy TEXT NOT NULL,
    last_seq BIGINT NOT NULL,
    head_message_id UUID,
    -- The message that opened it, as its sender names it: a retry finds the conversation by it.
    opened_by UUID,
    opening_client_message_id TEXT,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT conversations_opening UNIQUE (opened_by, opening_client_message_id)
);

CREATE TABLE members (
    conversation_id UUID NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    last_read_seq BIGINT NOT NULL,
    joined_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (conversation_id, user_id)
);
CREATE INDEX members_by_user ON members (user_id);

CREATE TABLE contexts (
    id UUID PRIMARY KEY NOT NULL,
    conversation_id UUID NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    title TEXT NOT NULL,
    content TEXT NOT NULL,
    position BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT contexts_position UNIQUE (conversation_id, position)
);

CREATE TABLE messages (
    id UUID PRIMARY KEY NOT NULL,
    conversation_id UUID NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    parent_id UUID,
    -- Whether the message is on the conversation's chosen path.
    on_path BOOLEAN NOT NULL,
    role TEXT NOT NULL,
    author_id UUID REFERENCES users (id) ON DELETE SET NULL,
    content TEXT NOT NULL,
    -- What a search finds: words as they stand, of every language, without punctuation and marks. An index takes no more
    -- than a million bytes of one text.
    words TSVECTOR NOT NULL GENERATED ALWAYS AS (
        to_tsvector('simple', regexp_replace(unmarked(left(content, 200000)), '[!-/:-@[-`{-~]+', ' ', 'g'))
    ) STORED,
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
    requested_by UUID,
    lease_owner UUID,
    lease_until TIMESTAMPTZ,
    stop_requested BOOLEAN NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT messages_seq UNIQUE (conversation_id, seq),
    CONSTRAINT messages_client_message_id UNIQUE (conversation_id, author_id, client_message_id)
);
CREATE INDEX messages_by_words ON messages USING gin (words);
CREATE INDEX messages_by_path ON messages (conversation_id, seq) WHERE on_path;
-- The answers to a message and, with NULL, the first messages of a conversation.
CREATE INDEX messages_by_parent ON messages (parent_id, conversation_id);
CREATE INDEX messages_by_lease ON messages (lease_until) WHERE lease_until IS NOT NULL;

-- What a run has written since it began; gone once the message holds the whole text.
CREATE TABLE run_chunks (
    message_id UUID NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    -- In UTF-8 bytes of the answer.
    "offset" BIGINT NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (message_id, "offset")
);

CREATE TABLE daily_usage (
    user_id UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    message_count BIGINT NOT NULL,
    PRIMARY KEY (user_id, day, model)
);
