ALTER TABLE members DROP COLUMN delivered_seq;
