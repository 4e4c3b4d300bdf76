DROP INDEX messages_by_lease_owner;
DROP INDEX messages_running;
