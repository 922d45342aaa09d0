-- Those of the heaps that are not in the files any more that they were in at the snapshot.
-- The catalogue tells of the snapshot's moment, the function of now.
-- Binds: heaps (oids).
SELECT c.oid::bigint
FROM pg_class AS c
WHERE c.oid = ANY(%(heaps)s) AND c.relfilenode <> pg_relation_filenode(c.oid)
