"""Create the Prefect blocks of a pipeline from its settings: ``python -m tasks.save_blocks``."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.filesystems import LocalFileSystem
from prefect_aws import AwsCredentials, AwsSecret, S3Bucket
from prefect_aws.client_parameters import AwsClientParameters
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector
from pydantic import SecretStr

from pipeline import connection, postgres, settings
from pipeline.errors import SettingsError
from pipeline.lake import chains
from pipeline.settings import PREFIX, Settings
from pipeline.source import snapshots
from pipeline.source.hashing import HashKey
from pipeline.warehouse import ledger
from tasks import blocks, saved_blocks
from tasks.arguments import Parser
from tasks.failures import in_some_line, print_all

_DRIVER = "postgresql+psycopg"
# Prefix of the temporary access keys that STS issues.
_TEMPORARY = "ASIA"
_SECONDS_TO_CONNECT = 10
_SECONDS_TO_ANSWER = 20


@dataclass(frozen=True)
class _Planned:
    """A block to save, with its role, the type of block that it replaces, and a function that tests it."""

    role: str
    name: str
    block: Block
    other: type[Block] | None
    test: Callable[[], str]


def save(config: Settings, *, temporary: bool = False) -> list[str]:
    """Create or update all blocks without testing them; returns their slugs.

    Raises SettingsError if settings are missing, or if AWS credentials expire and ``temporary`` is False.
    """
    return _save(_planned(config, temporary=temporary), config.environment)


def check_and_save(config: Settings, *, temporary: bool = False) -> Iterator[str | Exception]:
    """Test each block and save those that work; yields a line or an error for each.

    Raises SettingsError as :func:`save` does.
    """
    working = []
    plans = _planned(config, temporary=temporary)
    for planned in plans:
        try:
            with saved_blocks.unsaved(planned.name, planned.block):
                answer = planned.test()
        except Exception as error:  # noqa: BLE001  the other blocks are tested all the same
            yield error
        else:
            working.append(planned)
            yield f"{planned.role}: works, {answer}"
    if len(working) == len(plans):
        with ExitStack() as stack:
            for planned in plans:
                stack.enter_context(saved_blocks.unsaved(planned.name, planned.block))
            yield from _foreign_batches(config)
    yield from map("saved block {}".format, _save(working, config.environment))


@contextmanager
def as_set(config: Settings) -> Iterator[None]:
    """Use the settings' own databases and buckets in the body if all are set, else the saved blocks.

    This needs no Prefect server, which takes seconds to start.
    """
    with ExitStack() as stack:
        if all((config.source_url, config.warehouse_url, config.raw_uri, config.processed_uri)):
            for planned in _planned(config, temporary=True):
                stack.enter_context(saved_blocks.unsaved(planned.name, planned.block))
        yield


def _foreign_batches(config: Settings) -> Iterator[str]:
    """Lines if the raw bucket holds batches of other warehouses: it may be another environment's."""
    raw = blocks.bucket(blocks.RAW, config.environment)
    source_url, warehouse_url = (
        blocks.database_url(name, config.environment) for name in (blocks.SOURCE, blocks.WAREHOUSE)
    )
    try:
        destination = ledger.destination(warehouse_url, config.warehouse_schema)
        has_run = bool(destination.id)
        last_batch = ledger.fetch_last_batch(warehouse_url, config.warehouse_schema) if has_run else None
        others = chains.foreign(raw, destination, snapshots.identify(source_url), last_batch)
        former = chains.former(raw, destination)
    except Exception as error:  # noqa: BLE001  the blocks work all the same
        yield f"raw bucket: could not be searched for batches of other warehouses: {in_some_line(error)}"
        return
    if others:
        yield (
            f"raw bucket: {raw.uri} also holds batches of {chains.summaries(others)}; this warehouse does not"
            " use them; for a separate environment set TOTESYS_RAW_URI to a bucket or prefix of its own"
        )
    if former:
        yield (
            f"raw bucket: {raw.uri} has the batches of warehouse {former}, which this one was moved or copied"
            " from; if it is a copy, set TOTESYS_RAW_URI and TOTESYS_PROCESSED_URI to buckets of its own"
        )


def _planned(config: Settings, *, temporary: bool) -> list[_Planned]:
    needed = ["source_url", "warehouse_url", "raw_uri", "processed_uri"]
    if missing := [PREFIX + name.upper() for name in needed if getattr(config, name) is None]:
        raise SettingsError(f"not set: {', '.join(missing)}; put them into the environment or .env")
    if not temporary:
        _refuse_temporary_credentials(config)
    credentials = s3_credentials(config)
    return [
        _database(config, blocks.SOURCE, "source", config.source_url),
        _database(config, blocks.WAREHOUSE, "warehouse", config.warehouse_url),
        _bucket(config, blocks.RAW, "raw bucket", str(config.raw_uri), credentials),
        _bucket(config, blocks.PROCESSED, "processed bucket", str(config.processed_uri), credentials),
        *_hash_key(config),
    ]


def _refuse_temporary_credentials(config: Settings) -> None:
    """Raise SettingsError for credentials that expire: a block would show the session token."""
    texts = [url.get_secret_value() for url in (config.source_url, config.warehouse_url) if url]
    on_aws = any(str(uri).startswith("s3://") for uri in (config.raw_uri, config.processed_uri))
    needed = on_aws or any(map(settings.is_secret_name, texts))
    if needed and (config.aws_session_token or (config.aws_access_key_id or "").startswith(_TEMPORARY)):
        raise SettingsError(
            "AWS_SESSION_TOKEN: these credentials expire, and a block would show the token; unset them and"
            " let the worker use credentials that are renewed: the role of its machine or container,"
            " AWS_PROFILE, or web identity (AWS_ROLE_ARN); to store them anyway:"
            " make blocks ARGS=--temporary-credentials"
        )


def _save(plans: Iterable[_Planned], environment: str) -> list[str]:
    """Save blocks, credentials before buckets, and delete blocks of the other type."""
    slugs = []
    for planned in plans:
        if isinstance(planned.block, S3Bucket) and isinstance(planned.block.credentials, AwsCredentials):
            name = blocks.named(blocks.CREDENTIALS, environment)
            planned.block.credentials.save(name, overwrite=True)
            slugs.append(f"aws-credentials/{name}")
        planned.block.save(planned.name, overwrite=True)
        if planned.other:
            saved_blocks.forget(planned.other, planned.name)
        slugs.append(f"{planned.block.get_block_type_slug()}/{planned.name}")
    return list(dict.fromkeys(slugs))


def _database(config: Settings, name: str, role: str, secret: SecretStr | None) -> _Planned:
    """A connector block with the password as a secret field, or a block that names the secret."""

    def test() -> str:
        url = blocks.database_url(name, config.environment)
        return f"as {postgres.login(url, role, writes=name == blocks.WAREHOUSE)}"

    text = secret.get_secret_value() if secret else ""
    full_name = blocks.named(name, config.environment)
    if settings.is_secret_name(text):
        block = AwsSecret(aws_credentials=_credentials(config, config.aws_endpoint_url), secret_name=text)
        return _Planned(role, full_name, block, SqlAlchemyConnector, test)
    connector = SqlAlchemyConnector(connection_info=_components(connection.parts_of_url(text)))
    return _Planned(role, full_name, connector, AwsSecret, test)


def _components(parts: Mapping[str, str]) -> ConnectionComponents:
    """The parts as a block's fields; several hosts, and sockets, are options, as SQLAlchemy expects."""
    fields = {"user", "password", "dbname"}
    if not set("/,@").intersection(parts.get("host", "") + parts.get("port", "")):
        fields |= {"host", "port"}
    password, port = parts.get("password"), parts.get("port") if "port" in fields else None
    return ConnectionComponents(
        driver=_DRIVER,
        username=parts.get("user"),
        password=SecretStr(password) if password else None,
        host=parts.get("host") if "host" in fields else None,
        port=int(port) if port else None,
        database=parts.get("dbname"),
        query={keyword: value for keyword, value in parts.items() if keyword not in fields} or None,
    )


def s3_credentials(config: Settings) -> AwsCredentials:
    """The credentials block for S3."""
    return _credentials(config, config.aws_endpoint_url_s3 or config.aws_endpoint_url)


def s3_block(uri: str, credentials: AwsCredentials) -> S3Bucket:
    """The block of an S3 prefix; ``uri`` is in the form that settings have."""
    bucket_name, _, prefix = uri.removeprefix("s3://").partition("/")
    return S3Bucket(bucket_name=bucket_name, bucket_folder=prefix, credentials=credentials)


def _hash_key(config: Settings) -> Iterator[_Planned]:
    """The block with the key for hashing personal columns, if there is one."""
    if config.hash_key is None:
        return
    key = config.hash_key.get_secret_value()

    def test() -> str:
        return f"its id is {HashKey(key).id}"

    name = blocks.named(blocks.HASH_KEY, config.environment)
    yield _Planned("hash key", name, Secret(value=SecretStr(key)), None, test)


def _credentials(config: Settings, endpoint: str | None) -> AwsCredentials:
    # By default boto3 tries five times, a minute each, before it fails.
    client = {
        "connect_timeout": _SECONDS_TO_CONNECT,
        "read_timeout": _SECONDS_TO_ANSWER,
        "retries": {"mode": config.aws_retry_mode, "total_max_attempts": config.aws_max_attempts},
    }
    return AwsCredentials(
        aws_access_key_id=config.aws_access_key_id,
        aws_secret_access_key=config.aws_secret_access_key,
        aws_session_token=config.aws_session_token.get_secret_value() if config.aws_session_token else None,
        profile_name=config.aws_profile,
        region_name=config.aws_region or config.aws_default_region,
        aws_client_parameters=AwsClientParameters(endpoint_url=endpoint, config=client),
    )


def _bucket(config: Settings, name: str, role: str, uri: str, credentials: AwsCredentials) -> _Planned:
    """The block of an S3 prefix or a folder."""

    def test() -> str:
        bucket = blocks.bucket(name, config.environment)
        bucket.check()
        return f"{bucket.uri} can be written, listed and read"

    full_name = blocks.named(name, config.environment)
    if uri.startswith("s3://"):
        return _Planned(role, full_name, s3_block(uri, credentials), LocalFileSystem, test)
    folder = LocalFileSystem(basepath=str(Path(uri).expanduser().resolve()))
    return _Planned(role, full_name, folder, S3Bucket, test)


def main() -> int:
    """Test the blocks and save those that work; returns the exit status, 1 if any does not."""
    parser = Parser("tasks.save_blocks", __doc__)
    parser.add_argument("--unchecked", action="store_true", help="save them without testing them")
    parser.add_argument(
        "--temporary-credentials",
        action="store_true",
        help="store AWS credentials that expire; everybody who sees the block can read their token",
    )
    return print_all(_lines(parser.parse_args()))


def _lines(arguments: argparse.Namespace) -> Iterator[str | Exception]:
    config, temporary = settings.load(), arguments.temporary_credentials
    if arguments.unchecked:
        yield from map("saved block {}".format, save(config, temporary=temporary))
    else:
        yield from check_and_save(config, temporary=temporary)


if __name__ == "__main__":
    sys.exit(main())
