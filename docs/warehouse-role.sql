-- The role that the pipeline loads the warehouse with: it creates its tables in the warehouse's
-- schema and in the schema etl, and has no other rights there.
--
--   psql "postgresql://owner@warehouse-host/warehouse?sslmode=verify-full" -f docs/warehouse-role.sql
--
-- Other names: -v role=name, -v schema=name. Then give the role a password, which psql sends encrypted:
--   \password totesys_loader
-- Faster loads of facts: -v skip_checked_references=on, as a superuser of Postgres 15 or later. The role may
-- then set session_replication_role, and Postgres does not repeat for each row what the load has checked.
-- What this means: any session of the role can write to tables that it may write to without their triggers
-- and foreign keys. The pipeline only does so where no other trigger is, and docs/warehouse.md says how.
-- If the pipeline has loaded the warehouse with another role before, its objects get this role as
-- their owner. Change the owner of your own tables that models are to fill yourself, because the
-- role adds columns and views to them:
--   ALTER TABLE fact_sale OWNER TO totesys_loader;
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
-- Views of all tables at a moment that a reader chooses, and what readers need besides.
SELECT CASE WHEN :'schema' = 'public' THEN '' ELSE :'schema' || '_' END AS prefix \gset
SELECT :'prefix' || 'as_of' AS as_of, :'prefix' || 'reporting' AS reporting \gset
CREATE SCHEMA IF NOT EXISTS :"as_of";
CREATE SCHEMA IF NOT EXISTS :"reporting";
GRANT USAGE, CREATE ON SCHEMA :"schema", :"as_of", :"reporting", etl TO :"role";
-- To call etl.look_at. Only the role has rights on the tables in it.
GRANT USAGE ON SCHEMA etl TO PUBLIC;
-- Up to Postgres 14, every role can create tables and functions in the schema public.
REVOKE CREATE ON SCHEMA public, :"schema" FROM PUBLIC;

-- Only objects that the pipeline created, by name, and only if the role that it loaded with owns them.
SELECT to_regclass('etl.model') IS NOT NULL AS loaded, to_regclass('etl.mart') IS NOT NULL AS has_marts \gset
\set marts {}
\if :has_marts
SELECT COALESCE(array_agg(mart_name), '{}')::text AS marts FROM etl.mart WHERE schema_name = :'schema' \gset
\endif
\if :loaded
WITH ours (name) AS (
    SELECT unnest('{etl.version,etl.warehouse,etl.batch,etl.watermark,etl.model,etl.rejected,etl.forgotten,etl.schema_file,etl.mart,etl.superseded}'::text[])
    UNION ALL
    SELECT format('%I.%I', :'schema', table_name || suffix)
    FROM etl.model
    CROSS JOIN unnest('{"",_current,_history,_version}'::text[]) AS suffix
    UNION ALL
    SELECT format('%I.%I', in_schema, table_name)
    FROM etl.model
    CROSS JOIN unnest(ARRAY[:'as_of', :'reporting']) AS in_schema
    UNION ALL
    SELECT format('%I.%I', :'reporting', mart)
    FROM unnest(:'marts'::text[]) AS mart
),

functions (name, in_schema) AS (
    SELECT
        unnest('{look_at,looked_at,known}'::text[]),
        'etl'
    UNION ALL
    SELECT
        table_name || '_as_of',
        :'schema'
    FROM etl.model
    UNION ALL
    SELECT
        unnest(:'marts'::text[]),
        :'reporting'
)

SELECT format('ALTER TABLE %s OWNER TO %I', c.oid::regclass, :'role')
FROM ours
INNER JOIN pg_class AS c ON c.oid = to_regclass(ours.name)
WHERE c.relowner = (SELECT relowner FROM pg_class WHERE oid = 'etl.model'::regclass)
UNION ALL
SELECT format('ALTER FUNCTION %s OWNER TO %I', p.oid::regprocedure, :'role')
FROM functions AS f
INNER JOIN pg_namespace AS n ON n.nspname = f.in_schema
INNER JOIN pg_proc AS p ON p.proname = f.name AND p.pronamespace = n.oid
WHERE p.proowner = (SELECT relowner FROM pg_class WHERE oid = 'etl.model'::regclass)
\gexec
\endif

\if :{?skip_checked_references}
GRANT SET ON PARAMETER session_replication_role TO :"role";
\endif

COMMIT;
