CREATE OR REPLACE VIEW {history} AS
SELECT {shown}
FROM {versions}
