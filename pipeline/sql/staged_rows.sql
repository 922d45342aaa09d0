-- Staged rows as their table has them now, as the FROM of record_versions.sql.
{stage} AS s
INNER JOIN {table} AS t ON {same_key}
