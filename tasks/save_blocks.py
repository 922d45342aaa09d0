"""Save the Prefect blocks that a run needs from the settings: ``python -m tasks.save_blocks``."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
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
from tasks import blocks
from tasks.failures import in_some_line, print_all

_DRIVER = "postgresql+psycopg"
# Begins the keys that STS gives for a while.
_TEMPORARY = "ASIA"
_SECONDS_TO_CONNECT = 10
_SECONDS_TO_ANSWER = 20


@dataclass(frozen=True)
class _Planned:
    """A block to be: ``what`` it is for, its kind's counterpart if it has one, and how it is tried."""

    what: str
    name: str
    block: Block
    other: type[Block] | None
    attempt: Callable[[], str]


def save(config: Settings, *, temporary: bool = False) -> list[str]:
    """Save every block untried, over what is there; returns their slugs.

    Raises SettingsError that names every setting that is missing, and, unless ``temporary``, for
    AWS credentials that expire.
    """
    return _save(_planned(config, temporary=temporary), config.environment)


def check_and_save(config: Settings, *, temporary: bool = False) -> Iterator[str | Exception]:
    """Use each block once, and save those that work; yields what answered, or what does not work and why.

    Raises SettingsError as :func:`save` does.
    """
    working = []
    plans = _planned(config, temporary=temporary)
    for planned in plans:
        try:
            with blocks.unsaved(planned.name, planned.block):
                answer = planned.attempt()
        except Exception as fault:  # noqa: BLE001  whatever it is, the other blocks are tried, too
            yield fault
        else:
            working.append(planned)
            yield f"{planned.what}: works, {answer}"
    if len(working) == len(plans):
        with ExitStack() as stack:
            for planned in plans:
                stack.enter_context(blocks.unsaved(planned.name, planned.block))
            yield from _others_in_bucket(config)
    yield from map("saved block {}".format, _save(working, config.environment))


def _others_in_bucket(config: Settings) -> Iterator[str]:
    """Say whose batches the raw bucket holds beside this warehouse's: it may be another environment's."""
    raw = blocks.bucket(blocks.RAW, config.environment)
    source_url, warehouse_url = (
        blocks.database_url(name, config.environment) for name in (blocks.SOURCE, blocks.WAREHOUSE)
    )
    try:
        home = ledger.home(warehouse_url, config.warehouse_schema)
        others = chains.foreign(raw, home, snapshots.identify(source_url))
    except Exception as fault:  # noqa: BLE001  whatever it is, the blocks work
        yield f"raw bucket: whose batches it holds was not found out: {in_some_line(fault)}"
        return
    if others:
        yield (
            f"raw bucket: {raw.uri} is also that of {chains.summaries(others)};"
            " these batches are not taken for"
            " this warehouse's; for an environment apart set TOTESYS_RAW_URI to a bucket or prefix of its own"
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
    """A block would show the session token, and fail when it has expired."""
    texts = [url.get_secret_value() for url in (config.source_url, config.warehouse_url) if url]
    on_aws = any(str(uri).startswith("s3://") for uri in (config.raw_uri, config.processed_uri))
    needed = on_aws or any(map(settings.is_secret_name, texts))
    if needed and (config.aws_session_token or (config.aws_access_key_id or "").startswith(_TEMPORARY)):
        raise SettingsError(
            "AWS_SESSION_TOKEN: these credentials expire, and a block would show the token; unset them and"
            " let the worker use what is renewed: the role of its machine or container, AWS_PROFILE, or"
            " web identity (AWS_ROLE_ARN); to store them all the same:"
            " make blocks ARGS=--temporary-credentials"
        )


def _save(plans: Iterable[_Planned], environment: str) -> list[str]:
    """Save blocks, buckets after their credentials, and forget those of the other kind."""
    slugs = []
    for planned in plans:
        if isinstance(planned.block, S3Bucket) and isinstance(planned.block.credentials, AwsCredentials):
            name = blocks.named(blocks.CREDENTIALS, environment)
            planned.block.credentials.save(name, overwrite=True)
            slugs.append(f"aws-credentials/{name}")
        planned.block.save(planned.name, overwrite=True)
        if planned.other:
            blocks.forget(planned.other, planned.name)
        slugs.append(f"{planned.block.get_block_type_slug()}/{planned.name}")
    return list(dict.fromkeys(slugs))


def _database(config: Settings, name: str, what: str, secret: SecretStr | None) -> _Planned:
    """A connection with its password as a secret of its own, or where the secret is kept."""

    def attempt() -> str:
        return f"as {postgres.login(blocks.database_url(name, config.environment), what)}"

    text = secret.get_secret_value() if secret else ""
    full_name = blocks.named(name, config.environment)
    if settings.is_secret_name(text):
        block = AwsSecret(aws_credentials=_credentials(config, config.aws_endpoint_url), secret_name=text)
        return _Planned(what, full_name, block, SqlAlchemyConnector, attempt)
    connector = SqlAlchemyConnector(connection_info=_components(connection.parts_of_url(text)))
    return _Planned(what, full_name, connector, AwsSecret, attempt)


def _components(parts: Mapping[str, str]) -> ConnectionComponents:
    """The parts in a block's fields; several hosts and sockets are options, as SQLAlchemy wants them."""
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
    """How the settings reach S3."""
    return _credentials(config, config.aws_endpoint_url_s3 or config.aws_endpoint_url)


def s3_block(uri: str, credentials: AwsCredentials) -> S3Bucket:
    """An S3 prefix, spelled as settings spell it."""
    bucket_name, _, prefix = uri.removeprefix("s3://").partition("/")
    return S3Bucket(bucket_name=bucket_name, bucket_folder=prefix, credentials=credentials)


def _hash_key(config: Settings) -> Iterator[_Planned]:
    """The key that personal columns are hashed with, where there is one."""
    if config.hash_key is None:
        return
    key = config.hash_key.get_secret_value()

    def attempt() -> str:
        return f"its id is {HashKey(key).id}"

    name = blocks.named(blocks.HASH_KEY, config.environment)
    yield _Planned("hash key", name, Secret(value=SecretStr(key)), None, attempt)


def _credentials(config: Settings, endpoint: str | None) -> AwsCredentials:
    # By default five tries wait a minute each before anything is said.
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


def _bucket(config: Settings, name: str, what: str, uri: str, credentials: AwsCredentials) -> _Planned:
    """An S3 prefix or a folder, whichever the URI is."""

    def attempt() -> str:
        bucket = blocks.bucket(name, config.environment)
        bucket.check()
        return f"{bucket.uri} can be written, listed and read"

    full_name = blocks.named(name, config.environment)
    if uri.startswith("s3://"):
        return _Planned(what, full_name, s3_block(uri, credentials), LocalFileSystem, attempt)
    folder = LocalFileSystem(basepath=str(Path(uri).expanduser().resolve()))
    return _Planned(what, full_name, folder, S3Bucket, attempt)


def main() -> int:
    """Try the blocks and save those that work; status 1, and a line on each, where some do not."""
    parser = argparse.ArgumentParser(prog="python -m tasks.save_blocks", description=__doc__)
    parser.add_argument("--unchecked", action="store_true", help="save them and do not try them")
    parser.add_argument(
        "--temporary-credentials",
        action="store_true",
        help="store AWS credentials that expire; whoever sees the block can read their token",
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
