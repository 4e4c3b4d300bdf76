-- What an account wrote stands without it: its messages are found without reading all there are.
CREATE INDEX messages_by_author ON messages (author_id) WHERE author_id IS NOT NULL;
