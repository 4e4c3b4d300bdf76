CREATE TABLE tool_calls (
    message_id UUID NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    -- Calls and results of an answer are numbered together, from 1.
    number BIGINT NOT NULL,
    -- In UTF-8 bytes of the answer.
    "offset" BIGINT NOT NULL,
    call_id TEXT NOT NULL,
    name TEXT NOT NULL,
    arguments TEXT NOT NULL,
    -- The result, all of it or nothing.
    result_number BIGINT,
    content TEXT,
    is_error BOOLEAN,
    duration_ms BIGINT,
    PRIMARY KEY (message_id, number)
);

-- Whether the answer came from the response cache.
ALTER TABLE messages ADD COLUMN is_cached BOOLEAN NOT NULL DEFAULT FALSE;
