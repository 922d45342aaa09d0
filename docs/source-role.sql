-- The role that the pipeline reads the source with: it connects, and reads the tables that models name.
--
--   psql "postgresql://owner@source-host/totesys?sslmode=verify-full" -f docs/source-role.sql
--   make grants | psql "postgresql://owner@source-host/totesys?sslmode=verify-full"
--
-- The second command lets it read the tables that the models name, and no others, and use the schemas of
-- those that are not in the main one. Repeat it if the models name more tables. Other names: -v role=name, -v schema=name, and make grants ARGS="--role name".
-- Then give the role a password, which psql sends encrypted:
--   \password totesys_reader
-- From Postgres 17 on, a server with summarize_wal = on spares runs the scans of large unchanged tables. This
-- lets runs write the checkpoint that they may need for it:
--   GRANT pg_checkpoint TO totesys_reader WITH INHERIT TRUE;
-- A role that an earlier version of this file created can read all tables. This revokes it:
--   REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM totesys_reader;
--   ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM totesys_reader;
\set ON_ERROR_STOP on
\if :{?role} \else \set role totesys_reader \endif
\if :{?schema} \else \set schema public \endif

BEGIN;

-- NOBYPASSRLS: if a policy hides rows, a run fails with an error instead of leaving them out.
CREATE ROLE :"role" LOGIN
NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS
CONNECTION LIMIT 10;
ALTER ROLE :"role" SET default_transaction_read_only = on;

GRANT CONNECT ON DATABASE :"DBNAME" TO :"role";
GRANT USAGE ON SCHEMA :"schema" TO :"role";
-- Up to Postgres 14, every role can create tables and functions in the schema public.
REVOKE CREATE ON SCHEMA public, :"schema" FROM PUBLIC;

COMMIT;
