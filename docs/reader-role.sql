-- The role that people and BI tools read the warehouse with: tables, views and functions that the
-- pipeline has made or will make, and the schema reporting. It reads nothing else, and writes nothing.
--
--   psql "postgresql://owner@warehouse-host/warehouse?sslmode=verify-full" -f docs/reader-role.sql
--
-- Run it after docs/warehouse-role.sql, or after the pipeline's first run; to repeat it does no harm.
-- Other names: -v role=name, -v schema=name (the warehouse's), -v loader=name (the role that the
-- pipeline loads with; by default the owner of the schema etl's tables, before the first run
-- totesys_loader). Then give the role a password, which psql sends encrypted:
--   \password reporting_reader
-- The owner has to be a superuser, or a member of the loader's role.
\set ON_ERROR_STOP on
\if :{?role} \else \set role reporting_reader \endif
\if :{?schema} \else \set schema public \endif
\if :{?loader} \else
SELECT COALESCE(
    (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass('etl.model')), 'totesys_loader'
) AS loader \gset
\endif
SELECT CASE WHEN :'schema' = 'public' THEN '' ELSE :'schema' || '_' END AS prefix \gset
SELECT :'prefix' || 'as_of' AS as_of, :'prefix' || 'reporting' AS reporting \gset

BEGIN;
SET LOCAL client_min_messages TO warning;

SELECT format(
    'CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION NOBYPASSRLS',
    :'role'
)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role')
\gexec
ALTER ROLE :"role" SET default_transaction_read_only = on;
-- A fact's name alone means its present rows, not every version of them. If the role reads several
-- warehouses of a database, names alone mean the one for which this ran last.
ALTER ROLE :"role" IN DATABASE :"DBNAME" SET search_path = :"reporting", :"schema";

GRANT CONNECT ON DATABASE :"DBNAME" TO :"role";
-- Of etl only its functions are open to it, such as etl.look_at.
GRANT USAGE ON SCHEMA :"schema", :"as_of", :"reporting", etl TO :"role";
-- Up to Postgres 14, every role can create tables and functions in the schema public.
REVOKE CREATE ON SCHEMA public, :"schema" FROM PUBLIC;

-- What the pipeline will make.
ALTER DEFAULT PRIVILEGES FOR ROLE :"loader" IN SCHEMA :"schema", :"as_of", :"reporting"
GRANT SELECT ON TABLES TO :"role";
ALTER DEFAULT PRIVILEGES FOR ROLE :"loader" IN SCHEMA :"schema", :"as_of", :"reporting"
GRANT EXECUTE ON FUNCTIONS TO :"role";

-- What it has made.
SELECT format('GRANT SELECT ON %s TO %I', c.oid::regclass, :'role')
FROM pg_class AS c
INNER JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE
    n.nspname IN (:'schema', :'as_of', :'reporting')
    AND c.relkind IN ('r', 'p', 'v')
    AND pg_get_userbyid(c.relowner) = :'loader'
UNION ALL
SELECT format('GRANT EXECUTE ON FUNCTION %s TO %I', p.oid::regprocedure, :'role')
FROM pg_proc AS p
INNER JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE
    n.nspname IN (:'schema', :'as_of', :'reporting')
    AND p.prokind = 'f'
    AND pg_get_userbyid(p.proowner) = :'loader'
\gexec

COMMIT;
