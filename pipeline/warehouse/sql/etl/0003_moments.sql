-- Readers choose the moment that the as_of views show. Operators are qualified, because these functions run
-- with their callers' search_path.
CREATE FUNCTION etl.look_at(moment timestamptz DEFAULT NULL, for_transaction boolean DEFAULT false)
RETURNS timestamptz
LANGUAGE sql
AS $$
    SELECT pg_catalog.set_config(
        'etl.moment',
        CASE
            WHEN moment IS NULL OR moment OPERATOR(pg_catalog.=) 'infinity' THEN ''
            WHEN moment OPERATOR(pg_catalog.=) '-infinity' THEN '-infinity'
            -- This format does not depend on DateStyle and TimeZone.
            ELSE pg_catalog.to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        END,
        for_transaction
    );
    SELECT moment;
$$;
COMMENT ON FUNCTION etl.look_at IS
'Makes the views of the schema as_of show that moment until the session or the transaction ends; NULL is now.';

CREATE FUNCTION etl.looked_at() RETURNS timestamptz
LANGUAGE sql STABLE
AS $$
    SELECT COALESCE(NULLIF(pg_catalog.current_setting('etl.moment', true), '')::timestamptz, 'infinity')
$$;
COMMENT ON FUNCTION etl.looked_at IS 'The moment that etl.look_at has set; infinity is now.';

CREATE FUNCTION etl.known(moment timestamptz, warehouse text) RETURNS timestamptz
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    first timestamptz := (SELECT min(b.snapshot_at) FROM etl.batch AS b WHERE b.schema_name = warehouse);
BEGIN
    IF moment < first THEN
        RAISE EXCEPTION 'nothing is known of %: the first batch shows %', moment, first
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Ask for that moment or a later one.';
    END IF;
    RETURN moment;
END
$$;
COMMENT ON FUNCTION etl.known IS 'The same moment; an error where it is before the first batch of that schema.';

-- The tables stay private to the loader. If the schema has another owner, docs/warehouse-role.sql grants
-- this.
GRANT USAGE ON SCHEMA etl TO public;
