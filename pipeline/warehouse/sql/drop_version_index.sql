DROP INDEX IF EXISTS {qualified_index}
