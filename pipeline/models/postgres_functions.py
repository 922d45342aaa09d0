"""What to write in a model instead of functions that Postgres has and DuckDB lacks."""

INSTEAD = {
    "date_bin": "time_bucket(INTERVAL '15 minutes', x)",
    "div": "trunc(x / y), or x // y for integers",
    "every": "bool_and(x)",
    "json_agg": "to_json(array_agg(x ORDER BY y))",
    "json_build_object": "json_object('a', x)",
    "json_typeof": "json_type(x)",
    "json_array_elements": "unnest(CAST(CAST(x AS json) AS json[]))",
    "json_array_elements_text": "unnest(CAST(CAST(x AS json) AS text[]))",
    "json_object_keys": "unnest(json_keys(x))",
    "make_interval": "x * INTERVAL '1 day'",
    "regexp_match": "NULLIF(regexp_extract(x, 'a'), '')",
    "regexp_split_to_table": "unnest(regexp_split_to_array(x, 'a'))",
    "regexp_substr": "NULLIF(regexp_extract(x, 'a'), '')",
    "string_to_table": "unnest(string_split(x, ','))",
    "to_char": "strftime(x, '%Y-%m-%d')",
    "to_date": "CAST(strptime(x, '%Y-%m-%d') AS date)",
    "to_number": "CAST(x AS DECIMAL(18, 2))",
}


def instead_of(name: str) -> str | None:
    """The expression that does the same as a function of Postgres, if it is known."""
    name = name.lower()
    return INSTEAD.get(name) or INSTEAD.get(name.replace("jsonb_", "json_", 1))
