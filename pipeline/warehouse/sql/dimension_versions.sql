-- Every version of a dimension's rows, with the dimension's types and without its constraints. The columns
-- of the dimension are added one by one.
CREATE TABLE {versions} (
    valid_from timestamptz NOT NULL,
    valid_to timestamptz,
    deleted boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE {versions} IS
'Every version of a dimension''s rows. valid_to is NULL for present ones; deleted marks a last version whose row left the source.';
