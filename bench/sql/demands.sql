-- The constraints and indexes of a table: statements that drop and that create them again, references last.
SELECT
    concat_ws(' ', 'ALTER TABLE', conrelid::regclass, 'DROP CONSTRAINT', name) AS dropping,
    concat_ws(' ', 'ALTER TABLE', conrelid::regclass, 'ADD CONSTRAINT', name, definition) AS making,
    contype = 'f' AS refers
FROM pg_constraint, LATERAL quote_ident(conname) AS name, LATERAL pg_get_constraintdef(oid) AS definition
WHERE conrelid = %(table)s::regclass AND contype IN ('p', 'u', 'c', 'f')
UNION ALL
SELECT
    concat_ws(' ', 'DROP INDEX', indexrelid::regclass) AS dropping,
    pg_get_indexdef(indexrelid) AS making,
    FALSE AS refers
FROM pg_index
WHERE
    indrelid = %(table)s::regclass
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND conrelid = indrelid)
ORDER BY refers, making;
