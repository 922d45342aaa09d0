-- Give a serial column a sequence of its own.
-- Names: sequence, name (of the sequence, as a literal), table, column.
CREATE SEQUENCE {sequence};
ALTER SEQUENCE {sequence} OWNED BY {table}.{column};
ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT nextval({name}::regclass)
