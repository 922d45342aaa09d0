-- A relation of the warehouse as a check names it.
-- Names: view, relation.
CREATE VIEW {view} AS
SELECT *
FROM {relation}
