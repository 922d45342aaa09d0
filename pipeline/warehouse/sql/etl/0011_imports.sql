-- Since when a table's history is known where that is before the first batch, because it was imported.
ALTER TABLE etl.model ADD COLUMN imported_from timestamptz;
COMMENT ON COLUMN etl.model.imported_from IS 'When the first imported version begins; NULL if none is.';

CREATE FUNCTION etl.known(moment timestamptz, warehouse text, model text) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    imported timestamptz := (
        SELECT m.imported_from
        FROM etl.model AS m
        WHERE m.schema_name = warehouse AND m.table_name = model
    );
BEGIN
    RETURN CASE WHEN moment >= imported THEN moment ELSE etl.known(moment, warehouse) END;
END
$$;
COMMENT ON FUNCTION etl.known(timestamptz, text, text) IS
'The same moment; an error where it is before the first batch of that schema and before what the table has of an import.';
