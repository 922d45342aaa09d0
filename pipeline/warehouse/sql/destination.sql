-- The database and schema that batches are loaded into.
-- Binds: id (of the warehouse), schema.
SELECT
    %(id)s AS id,
    current_database() AS database,
    %(schema)s AS schema_name,
    (SELECT c.system_identifier::text FROM pg_control_system() AS c) AS system
