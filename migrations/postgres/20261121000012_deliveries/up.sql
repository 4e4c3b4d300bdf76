-- The `seq` up to which the conversation's messages have reached the member. Whoever is a member already is taken to have
-- them all.
ALTER TABLE members ADD COLUMN delivered_seq BIGINT NOT NULL DEFAULT 0;
UPDATE members SET delivered_seq =
    (SELECT conversations.last_seq FROM conversations WHERE conversations.id = members.conversation_id);
