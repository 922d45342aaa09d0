-- The role that the pipeline loads the warehouse with: it owns the warehouse's schema and
-- the schema etl, and nothing else.
--
--   psql "postgresql://owner@warehouse-host/warehouse?sslmode=verify-full" -f docs/warehouse-role.sql
--
-- Other names: -v role=name, -v schema=name. Tables and views that are there already become the
-- role's, because it gives them their history. Then give the role a password, which psql sends encrypted:
--   \password totesys_loader
\set ON_ERROR_STOP on
\if :{?role} \else \set role totesys_loader \endif
\if :{?schema} \else \set schema public \endif

BEGIN;
SET LOCAL client_min_messages TO warning;

CREATE ROLE :"role" LOGIN
NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS
CONNECTION LIMIT 10;

-- TEMPORARY: a batch is staged in temporary tables before it is merged.
GRANT CONNECT, TEMPORARY ON DATABASE :"DBNAME" TO :"role";
CREATE SCHEMA IF NOT EXISTS :"schema";
CREATE SCHEMA IF NOT EXISTS etl;
ALTER SCHEMA :"schema" OWNER TO :"role";
ALTER SCHEMA etl OWNER TO :"role";
SELECT format('ALTER TABLE %s OWNER TO %I', oid::regclass, :'role')
FROM pg_class
WHERE
    relnamespace IN (quote_ident(:'schema')::regnamespace, 'etl'::regnamespace)
    AND relkind IN ('r', 'p', 'v')
UNION ALL
SELECT format('ALTER FUNCTION %s OWNER TO %I', oid::regprocedure, :'role')
FROM pg_proc
WHERE pronamespace = quote_ident(:'schema')::regnamespace AND proname LIKE '%\_as\_of'
\gexec

COMMIT;
