-- Heaps whose files were replaced after the snapshot: the catalogue shows the file at the snapshot, the
-- function the present one.
-- Binds: heaps (oids).
SELECT c.oid::bigint
FROM pg_class AS c
WHERE c.oid = ANY(%(heaps)s) AND c.relfilenode <> pg_relation_filenode(c.oid)
