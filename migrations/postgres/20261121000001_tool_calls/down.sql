ALTER TABLE messages DROP COLUMN is_cached;
DROP TABLE tool_calls;
