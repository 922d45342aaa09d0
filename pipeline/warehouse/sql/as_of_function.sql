-- Create <table>_as_of(moment). The operators in the body are qualified, because it runs with the caller's
-- search_path. SET search_path would keep the planner from inlining the function.
-- Names: as_of, row_type, body (the query, as a literal).
CREATE OR REPLACE FUNCTION {as_of}(moment timestamptz) RETURNS SETOF {row_type}
LANGUAGE sql STABLE PARALLEL SAFE
AS {body}; -- noqa: PRS
