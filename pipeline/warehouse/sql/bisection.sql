-- Functions that find the staged rows that Postgres rejects. They are created once it has rejected a set of
-- rows as a whole. No names, no values.
CREATE TEMP TABLE IF NOT EXISTS postgres_rejections (
    place tid NOT NULL,
    reason text NOT NULL,
    retried boolean NOT NULL
) ON COMMIT DROP;
CREATE TEMP SEQUENCE IF NOT EXISTS rejection_number;

-- Run a statement for the rows at these places ($1). If Postgres rejects them, run it for each half. Note a
-- single row that is rejected. The statement returns an array of two counts; the result is their sum.
CREATE OR REPLACE FUNCTION pg_temp.run_in_halves(
    statement text, places tid[], row_limit bigint, other_errors text[]
) RETURNS bigint[]
LANGUAGE plpgsql
AS $body$
DECLARE
    counts bigint[];
    others bigint[];
    half integer := cardinality(places) / 2;
    state text;
    message text;
    details text;
    column_name text;
    context text;
BEGIN
    BEGIN
        EXECUTE statement INTO counts USING places;
        SET CONSTRAINTS ALL IMMEDIATE;
        SET CONSTRAINTS ALL DEFERRED;
        RETURN counts;
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS
            state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, details = PG_EXCEPTION_DETAIL,
            column_name = COLUMN_NAME, context = PG_EXCEPTION_CONTEXT;
        IF left(state, 2) = ANY(other_errors) THEN
            RAISE;
        END IF;
    END;
    IF half > 0 THEN
        counts := pg_temp.run_in_halves(statement, places[:half], row_limit, other_errors);
        others := pg_temp.run_in_halves(statement, places[half + 1:], row_limit, other_errors);
        RETURN ARRAY[counts[1] + others[1], counts[2] + others[2]];
    END IF;
    message := pg_temp.without_values(state, message, column_name, details, context);
    INSERT INTO pg_temp.postgres_rejections (place, reason, retried)
    VALUES (places[1], message, state <> ALL('{22021,22P05}'));
    -- A missing reference does not count: another row of the set may still bring it in.
    IF state <> '23503' AND nextval('pg_temp.rejection_number') > row_limit THEN
        RAISE EXCEPTION USING ERRCODE = 'TT001', MESSAGE = message;
    END IF;
    RETURN ARRAY[0, 0];
END
$body$;

-- An error message without values, after the name of its column. Postgres quotes a value that does not fit.
-- The message of a trigger or function may contain any value, so it is replaced. The error's context then has
-- a line with PL/ before the function's name, in every language of messages.
CREATE OR REPLACE FUNCTION pg_temp.without_values(
    state text, message text, column_name text, details text, context text
) RETURNS text
LANGUAGE plpgsql
AS $body$
BEGIN
    IF EXISTS (
        SELECT FROM regexp_split_to_table(context, E'\n') AS t (line)
        WHERE t.line LIKE '%PL/%' AND t.line NOT LIKE '%pg\_temp\_%'
    ) THEN
        RETURN format('a trigger or function of the database refuses the row (SQLSTATE %s)', state);
    END IF;
    IF left(state, 2) = ANY('{22,42}') AND state <> ALL('{22021,22P05}') THEN
        message := regexp_replace(message, ':? ?".*"', '');
    END IF;
    RETURN concat_ws(
        ': ', coalesce(nullif(column_name, ''), substring(details FROM '^Key \((.*?)\)=')), trim(message)
    );
END
$body$;

-- Run a statement for all staged rows, 10,000 at a time. With `repeat_rejected`, run it again for rejected
-- rows until no more of them are accepted, because rows may refer to each other.
CREATE OR REPLACE FUNCTION pg_temp.find_rejected(
    statement text, staged regclass, row_limit bigint, other_errors text[], repeat_rejected boolean
) RETURNS bigint[]
LANGUAGE plpgsql
AS $body$
DECLARE
    chunk_size CONSTANT integer := 10000;
    counts bigint[] := ARRAY[0, 0];
    others bigint[];
    pending tid[];
    tried integer;
BEGIN
    EXECUTE format('SELECT array_agg(ctid ORDER BY ctid) FROM %s', staged) INTO pending;
    LOOP
        tried := coalesce(cardinality(pending), 0);
        TRUNCATE pg_temp.postgres_rejections;
        PERFORM setval('pg_temp.rejection_number', 1, false);
        FOR low IN 1..tried BY chunk_size LOOP
            others := pg_temp.run_in_halves(statement, pending[low:low + chunk_size - 1], row_limit, other_errors);
            counts := ARRAY[counts[1] + others[1], counts[2] + others[2]];
        END LOOP;
        SELECT array_agg(place ORDER BY place) INTO pending FROM pg_temp.postgres_rejections;
        EXIT WHEN NOT repeat_rejected OR pending IS NULL OR cardinality(pending) = tried;
    END LOOP;
    RETURN counts;
END
$body$;

-- Decode UTF-8. Return the bytes as text if the database's encoding cannot hold them.
CREATE OR REPLACE FUNCTION pg_temp.readable(bytes bytea) RETURNS text
LANGUAGE plpgsql
AS $body$
BEGIN
    -- A text of the source that is not UTF-8 has a NUL before it, and escapes.
    RETURN convert_from(CASE WHEN substr(bytes, 1, 1) = '\x00' THEN substr(bytes, 2) ELSE bytes END, 'UTF8');
EXCEPTION WHEN OTHERS THEN
    RETURN bytes::text;
END
$body$;

-- Print a value as its type does. Return it unchanged if it does not fit.
CREATE OR REPLACE FUNCTION pg_temp.printed(value text, type_name text) RETURNS text
LANGUAGE plpgsql
AS $body$
BEGIN
    EXECUTE format('SELECT ($1::%s)::text', type_name) INTO value USING value;
    RETURN value;
EXCEPTION WHEN OTHERS THEN
    RETURN value;
END
$body$;

-- Find out which columns of a rejected row cannot be cast, and replace its reason by one per column.
CREATE OR REPLACE FUNCTION pg_temp.name_columns(
    untyped regclass, typed regclass, names text[], expressions text[]
) RETURNS void
LANGUAGE plpgsql
AS $body$
DECLARE
    rejection record;
    reasons text[];
    can_retry boolean;
    state text;
    message text;
    context text;
BEGIN
    FOR rejection IN SELECT place FROM pg_temp.postgres_rejections LOOP
        reasons := '{}';
        can_retry := true;
        FOR number IN 1..cardinality(names) LOOP
            BEGIN
                EXECUTE format(
                    'INSERT INTO %s (%I) SELECT %s FROM %s AS s WHERE s.ctid = $1',
                    typed, names[number], expressions[number], untyped
                ) USING rejection.place;
                -- Undo the insert.
                RAISE EXCEPTION USING ERRCODE = 'TT000';
            EXCEPTION WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS
                    state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, context = PG_EXCEPTION_CONTEXT;
                -- 23502: a domain without NULLs may be that of another column, which this insert omits.
                IF state NOT IN ('TT000', '23502') THEN
                    reasons := reasons || pg_temp.without_values(
                        state, message, names[number], NULL, context
                    );
                END IF;
                -- A value that the database cannot encode cannot be retried.
                can_retry := can_retry AND state <> ALL('{22021,22P05}');
            END;
        END LOOP;
        UPDATE pg_temp.postgres_rejections
        SET reason = coalesce(nullif(array_to_string(reasons, '; '), ''), reason), retried = retried AND can_retry
        WHERE place = rejection.place;
    END LOOP;
END
$body$;
