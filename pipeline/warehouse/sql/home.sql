-- Where a schema's batches go.
-- Binds: schema, id (of the warehouse, as etl keeps it).
SELECT
    %(id)s AS id,
    current_database() AS database,
    %(schema)s AS schema_name,
    (SELECT c.system_identifier::text FROM pg_control_system() AS c) AS system
