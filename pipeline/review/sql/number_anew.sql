-- Give a serial column a sequence of its own.
-- Names: sequence, sequence_name (as a literal), relation, serial_column.
CREATE SEQUENCE {sequence};
ALTER SEQUENCE {sequence} OWNED BY {relation}.{serial_column};
ALTER TABLE {relation} ALTER COLUMN {serial_column} SET DEFAULT nextval({sequence_name})
