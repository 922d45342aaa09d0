-- What finds the rows of a set that Postgres refuses. Made only once it has refused the set as a whole.
CREATE TEMP TABLE IF NOT EXISTS refused (
    place tid NOT NULL,
    reason text NOT NULL,
    retried boolean NOT NULL
) ON COMMIT DROP;
CREATE TEMP SEQUENCE IF NOT EXISTS refused_number;

-- Run a statement for the rows at these places ($1), and where that is refused for each half of them.
-- A single row that is refused is noted. The statement returns an array of counts, which are added up.
CREATE OR REPLACE FUNCTION pg_temp.run_in_halves(
    statement text, places tid[], most bigint, no_faults text[]
) RETURNS bigint[]
LANGUAGE plpgsql
AS $body$
DECLARE
    counts bigint[];
    others bigint[];
    half integer := cardinality(places) / 2;
    state text;
    words text;
    details text;
    named text;
    frames text;
BEGIN
    BEGIN
        EXECUTE statement INTO counts USING places;
        SET CONSTRAINTS ALL IMMEDIATE;
        SET CONSTRAINTS ALL DEFERRED;
        RETURN counts;
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS
            state = RETURNED_SQLSTATE, words = MESSAGE_TEXT, details = PG_EXCEPTION_DETAIL,
            named = COLUMN_NAME, frames = PG_EXCEPTION_CONTEXT;
        IF left(state, 2) = ANY(no_faults) THEN
            RAISE;
        END IF;
    END;
    IF half > 0 THEN
        counts := pg_temp.run_in_halves(statement, places[:half], most, no_faults);
        others := pg_temp.run_in_halves(statement, places[half + 1:], most, no_faults);
        RETURN ARRAY[counts[1] + others[1], counts[2] + others[2]];
    END IF;
    words := pg_temp.without_values(state, words, named, details, frames);
    INSERT INTO pg_temp.refused (place, reason, retried)
    VALUES (places[1], words, state <> ALL('{22021,22P05}'));
    -- A row whose reference is missing may find it once the others are in.
    IF state <> '23503' AND nextval('pg_temp.refused_number') > most THEN
        RAISE EXCEPTION USING ERRCODE = 'TT001', MESSAGE = words;
    END IF;
    RETURN ARRAY[0, 0];
END
$body$;

-- Postgres's words with the column in front. It quotes what does not fit; that value stands in the row. What
-- a trigger or function raises, or runs, may hold any value, so the words are left out where the error's
-- context names one. Such a frame has PL/ before the function's name, whatever language Postgres speaks.
CREATE OR REPLACE FUNCTION pg_temp.without_values(
    state text, words text, named text, details text, frames text
) RETURNS text
LANGUAGE plpgsql
AS $body$
BEGIN
    IF EXISTS (
        SELECT FROM regexp_split_to_table(frames, E'\n') AS t (frame)
        WHERE t.frame LIKE '%PL/%' AND t.frame NOT LIKE '%pg\_temp\_%'
    ) THEN
        RETURN format('a trigger or function of the database refuses the row (SQLSTATE %s)', state);
    END IF;
    IF left(state, 2) = ANY('{22,42}') AND state <> ALL('{22021,22P05}') THEN
        words := regexp_replace(words, ':? ?".*"', '');
    END IF;
    RETURN concat_ws(': ', coalesce(nullif(named, ''), substring(details FROM '^Key \((.*?)\)=')), trim(words));
END
$body$;

-- All rows of a table, some at a time. Where their order matters, those that were refused are tried again
-- until no more of them come in.
CREATE OR REPLACE FUNCTION pg_temp.find_refused(
    statement text, staged regclass, most bigint, no_faults text[], again boolean
) RETURNS bigint[]
LANGUAGE plpgsql
AS $body$
DECLARE
    at_once CONSTANT integer := 10000;
    counts bigint[] := ARRAY[0, 0];
    others bigint[];
    pending tid[];
    tried integer;
BEGIN
    EXECUTE format('SELECT array_agg(ctid ORDER BY ctid) FROM %s', staged) INTO pending;
    LOOP
        tried := coalesce(cardinality(pending), 0);
        TRUNCATE pg_temp.refused;
        PERFORM setval('pg_temp.refused_number', 1, false);
        FOR low IN 1..tried BY at_once LOOP
            others := pg_temp.run_in_halves(statement, pending[low:low + at_once - 1], most, no_faults);
            counts := ARRAY[counts[1] + others[1], counts[2] + others[2]];
        END LOOP;
        SELECT array_agg(place ORDER BY place) INTO pending FROM pg_temp.refused;
        EXIT WHEN NOT again OR pending IS NULL OR cardinality(pending) = tried;
    END LOOP;
    RETURN counts;
END
$body$;

-- The text of bytes in UTF-8, or the bytes themselves where the database cannot write it.
CREATE OR REPLACE FUNCTION pg_temp.readable(bytes bytea) RETURNS text
LANGUAGE plpgsql
AS $body$
BEGIN
    RETURN convert_from(bytes, 'UTF8');
EXCEPTION WHEN OTHERS THEN
    RETURN bytes::text;
END
$body$;

-- A value as its type prints it, or as it is where it does not fit.
CREATE OR REPLACE FUNCTION pg_temp.printed(word text, type_name text) RETURNS text
LANGUAGE plpgsql
AS $body$
BEGIN
    EXECUTE format('SELECT ($1::%s)::text', type_name) INTO word USING word;
    RETURN word;
EXCEPTION WHEN OTHERS THEN
    RETURN word;
END
$body$;

-- Why values do not fit, column by column, for rows that were refused while they got their types.
CREATE OR REPLACE FUNCTION pg_temp.name_columns(
    untyped regclass, typed regclass, names text[], expressions text[]
) RETURNS void
LANGUAGE plpgsql
AS $body$
DECLARE
    bad record;
    reasons text[];
    kept boolean;
    state text;
    words text;
    frames text;
BEGIN
    FOR bad IN SELECT place FROM pg_temp.refused LOOP
        reasons := '{}';
        kept := true;
        FOR number IN 1..cardinality(names) LOOP
            BEGIN
                EXECUTE format(
                    'INSERT INTO %s (%I) SELECT %s FROM %s AS s WHERE s.ctid = $1',
                    typed, names[number], expressions[number], untyped
                ) USING bad.place;
                -- Takes it back.
                RAISE EXCEPTION USING ERRCODE = 'TT000';
            EXCEPTION WHEN OTHERS THEN
                GET STACKED DIAGNOSTICS
                    state = RETURNED_SQLSTATE, words = MESSAGE_TEXT, frames = PG_EXCEPTION_CONTEXT;
                -- A domain that allows no NULL may be that of another column, which is not given here.
                IF state NOT IN ('TT000', '23502') THEN
                    reasons := reasons || pg_temp.without_values(state, words, names[number], NULL, frames);
                END IF;
                -- What the database cannot write down cannot be tried again.
                kept := kept AND state <> ALL('{22021,22P05}');
            END;
        END LOOP;
        UPDATE pg_temp.refused
        SET reason = coalesce(nullif(array_to_string(reasons, '; '), ''), reason), retried = retried AND kept
        WHERE place = bad.place;
    END LOOP;
END
$body$;
