DROP INDEX daily_usage_by_day;
DROP INDEX users_by_role;
DROP TABLE audit_log;
