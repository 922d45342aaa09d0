"""The databases and buckets of an environment's blocks as text, without secrets."""

from collections.abc import Iterable

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipeline.settings import Settings
from tasks import blocks

# The parts of a connection that name its server, database and user.
_PLACE = ("service", "host", "hostaddr", "port", "dbname", "user")


def places(config: Settings, environment: str, databases: Iterable[str]) -> str:
    """One line that names the environment, the given databases, and the buckets."""
    schemas = {blocks.SOURCE: config.source_schema, blocks.WAREHOUSE: config.warehouse_schema}
    parts = [
        f"{_kind(name)} {_database(blocks.database_url(name, environment))} schema={schemas[name]}"
        for name in databases
    ]
    buckets = [
        f"{_kind(name)} bucket {blocks.bucket(name, environment).uri}"
        for name in (blocks.RAW, blocks.PROCESSED)
    ]
    return f"Environment {environment or '(unnamed)'}: {'; '.join(parts + buckets)}"


def _kind(name: str) -> str:
    return name.rpartition("-")[2]


def _database(url: str) -> str:
    parts = conninfo_to_dict(url)
    return make_conninfo("", **{name: parts[name] for name in _PLACE if parts.get(name)})
