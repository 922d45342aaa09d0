-- The role that the pipeline reads the source with: it connects and reads, and nothing else.
--
--   psql "postgresql://owner@source-host/totesys?sslmode=verify-full" -f docs/source-role.sql
--
-- Run it as the owner of the tables (or with -v owner=name). Other names: -v role=name,
-- -v schema=name. Then give the role a password, which psql sends encrypted:
--   \password totesys_reader
-- Postgres 14 and older let everybody make tables in the schema public; there also run
--   REVOKE CREATE ON SCHEMA public FROM PUBLIC;
\set ON_ERROR_STOP on
\if :{?role} \else \set role totesys_reader \endif
\if :{?schema} \else \set schema public \endif
\if :{?owner} \else \set owner :USER \endif

BEGIN;

-- NOBYPASSRLS: rows that a policy hides end a run with an error and are never silently left out.
CREATE ROLE :"role" LOGIN
NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS
CONNECTION LIMIT 10;
ALTER ROLE :"role" SET default_transaction_read_only = on;

GRANT CONNECT ON DATABASE :"DBNAME" TO :"role";
GRANT USAGE ON SCHEMA :"schema" TO :"role";
GRANT SELECT ON ALL TABLES IN SCHEMA :"schema" TO :"role";
-- And on tables that come later.
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA :"schema" GRANT SELECT ON TABLES TO :"role";

COMMIT;
