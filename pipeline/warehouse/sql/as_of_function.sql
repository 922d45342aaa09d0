-- The operators in its body bear their schema, because it runs under its caller's search_path. To pin
-- that by SET would keep the planner from looking into it.
CREATE OR REPLACE FUNCTION {as_of}(moment timestamptz) RETURNS SETOF {row_type}
LANGUAGE sql STABLE PARALLEL SAFE
AS {body}; -- noqa: PRS
