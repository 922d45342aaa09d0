-- Functions and operators that objects use, owned by roles that own neither the schema nor the database. They
-- would run with the rights of whoever writes to the table or reads the view.
-- Names: made (a condition for the dependencies d of these objects).
SELECT
    pg_describe_object(d.refclassid, d.refobjid, 0),
    r.rolname
FROM pg_depend AS d
INNER JOIN (
    SELECT 'pg_proc'::regclass::oid AS class, oid, proowner AS owner, pronamespace AS namespace
    FROM pg_proc
    UNION ALL
    SELECT 'pg_operator'::regclass::oid, oid, oprowner, oprnamespace
    FROM pg_operator
) AS called ON d.refclassid = called.class AND d.refobjid = called.oid
INNER JOIN pg_namespace AS n ON called.namespace = n.oid
INNER JOIN pg_roles AS r ON called.owner = r.oid
WHERE
    {made}
    AND NOT r.rolsuper
    AND called.owner <> quote_ident(current_user)::regrole
    AND called.owner <> n.nspowner
    AND called.owner <> (SELECT datdba FROM pg_database WHERE datname = current_database())
ORDER BY 1
LIMIT 1
