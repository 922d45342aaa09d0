-- A column that somebody has dropped and added again has its former name and another number.
ALTER TABLE etl.model ADD COLUMN column_numbers jsonb;
COMMENT ON COLUMN etl.model.column_numbers IS
'The numbers that Postgres has given to the columns of the table and of its table of versions, by name.';
