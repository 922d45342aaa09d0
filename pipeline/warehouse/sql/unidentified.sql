-- The pipeline's tables of which a publication sends updates or deletions, and that have neither a primary
-- key nor a replica identity: Postgres refuses to update them.
-- Binds: schema, tables (names).
SELECT DISTINCT n.nspname::text, c.relname::text
FROM pg_publication_tables AS t
INNER JOIN pg_publication AS p ON t.pubname = p.pubname AND (p.pubupdate OR p.pubdelete)
INNER JOIN pg_namespace AS n ON t.schemaname = n.nspname
INNER JOIN pg_class AS c ON n.oid = c.relnamespace AND t.tablename = c.relname
WHERE
    (n.nspname = 'etl' OR (n.nspname = %(schema)s AND c.relname = ANY(%(tables)s)))
    AND c.relreplident = 'd'
    AND NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary)
