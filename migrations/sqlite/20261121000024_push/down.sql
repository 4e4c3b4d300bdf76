DROP TABLE push_subscriptions;
DROP TABLE push_key;
