-- Create the table of a dimension's versions: its types without its constraints. The dimension's columns are
-- added one by one.
-- Names: versions.
CREATE TABLE {versions} (
    valid_from timestamptz NOT NULL,
    valid_to timestamptz,
    deleted boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE {versions} IS
'Every version of a dimension''s rows. valid_to is NULL for present ones; deleted marks a last version whose row left the source.';
