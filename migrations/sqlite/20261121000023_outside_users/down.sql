DROP TABLE outside_users;
