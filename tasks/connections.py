"""Connections of commands for authors of models, found without Prefect if the settings name them all.

To import Prefect and to start a temporary server for its blocks takes seconds.
"""

from dataclasses import dataclass
from pathlib import Path

from pipeline import connection, settings
from pipeline.errors import PipelineError
from pipeline.lake.buckets import Bucket, folder
from pipeline.messages import cleaned, message
from pipeline.settings import Settings


@dataclass(frozen=True)
class Connections:
    """A warehouse, its models, and the raw bucket."""

    url: str
    schema: str
    transforms: Path
    raw: Bucket


def connections(environment: str) -> Connections:
    """The databases and buckets that the settings name, if they name all; else those of the blocks."""
    config = settings.load()
    environment = config.environment_for(environment)
    if all((config.source_url, config.warehouse_url, config.raw_uri, config.processed_uri)):
        found = _of_settings(config)
        if found:
            return found
    return _of_blocks(config, environment)


def _of_settings(config: Settings) -> Connections | None:
    """None if it takes a block's code to reach them: a secret of AWS, or S3."""
    uri, secret = str(config.raw_uri), config.warehouse_url
    url = secret.get_secret_value() if secret else ""
    if "://" in uri or not connection.is_url(url):
        return None
    return Connections(connection.of(url), config.warehouse_schema, config.transforms, folder(uri))


def _of_blocks(config: Settings, environment: str) -> Connections:
    from tasks import blocks  # noqa: PLC0415  Prefect is loaded only where it is used
    from tasks.save_blocks import as_set  # noqa: PLC0415

    with as_set(config):
        url = blocks.database_url(blocks.WAREHOUSE, environment)
        raw = blocks.bucket(blocks.RAW, environment)
    return Connections(url, config.warehouse_schema, config.transforms, raw)


def in_line(error: Exception) -> str:
    """One line for a person, without secrets and values of rows."""
    if isinstance(error, PipelineError):
        return message(error)
    from tasks.failures import in_some_line  # noqa: PLC0415  it imports Prefect

    return in_some_line(cleaned(error))
