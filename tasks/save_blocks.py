"""Save the Prefect blocks that a run needs from the settings: ``python -m tasks.save_blocks``."""

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from prefect.filesystems import LocalFileSystem
from prefect_aws import AwsCredentials, AwsSecret, S3Bucket
from prefect_aws.client_parameters import AwsClientParameters
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector
from pydantic import SecretStr

from pipeline import connection, postgres, settings
from pipeline.errors import SettingsError
from pipeline.settings import PREFIX, Settings
from tasks import blocks
from tasks.failures import print_all

_DRIVER = "postgresql+psycopg"
# Begins the keys that STS gives for a while.
_TEMPORARY = "ASIA"
_SECONDS_TO_CONNECT = 10
_SECONDS_TO_ANSWER = 20


def save(config: Settings, *, temporary: bool = False) -> list[str]:
    """Save every block, over what is there; returns their slugs.

    Raises SettingsError that names every setting that is missing, and, unless ``temporary``, for
    AWS credentials that expire.
    """
    needed = ["source_url", "warehouse_url", "raw_uri", "processed_uri"]
    if missing := [PREFIX + name.upper() for name in needed if getattr(config, name) is None]:
        raise SettingsError(f"not set: {', '.join(missing)}; put them into the environment or .env")
    if not temporary:
        _refuse_temporary_credentials(config)
    saved = [_save_database(config, blocks.SOURCE, config.source_url)]
    saved.append(_save_database(config, blocks.WAREHOUSE, config.warehouse_url))
    credentials = None
    if any(str(uri).startswith("s3://") for uri in (config.raw_uri, config.processed_uri)):
        name = blocks.named(blocks.CREDENTIALS, config.environment)
        credentials = s3_credentials(config)
        credentials.save(name, overwrite=True)
        saved.append(f"aws-credentials/{name}")
    saved.append(_save_bucket(config, blocks.RAW, str(config.raw_uri), credentials))
    saved.append(_save_bucket(config, blocks.PROCESSED, str(config.processed_uri), credentials))
    return saved


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


def check(environment: str) -> Iterator[str]:
    """Use each block once and say what answered.

    Raises PipelineError that names the first one that does not work, and why.
    """
    for database, what in ((blocks.SOURCE, "source"), (blocks.WAREHOUSE, "warehouse")):
        yield f"{what}: works, as {postgres.login(blocks.database_url(database, environment), what)}"
    for name, what in ((blocks.RAW, "raw bucket"), (blocks.PROCESSED, "processed bucket")):
        bucket = blocks.bucket(name, environment)
        bucket.check()
        yield f"{what}: works, {bucket.uri} can be written, listed and read"


def _save_database(config: Settings, name: str, secret: SecretStr | None) -> str:
    """Save a connection with its password as a secret of its own, or where the secret is kept."""
    name, text = blocks.named(name, config.environment), secret.get_secret_value() if secret else ""
    if settings.is_secret_name(text):
        credentials = _credentials(config, config.aws_endpoint_url)
        AwsSecret(aws_credentials=credentials, secret_name=text).save(name, overwrite=True)
        blocks.forget(SqlAlchemyConnector, name)
        return f"aws-secret/{name}"
    SqlAlchemyConnector(connection_info=_components(connection.parts_of_url(text))).save(name, overwrite=True)
    blocks.forget(AwsSecret, name)
    return f"sqlalchemy-connector/{name}"


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


def _save_bucket(config: Settings, name: str, uri: str, credentials: AwsCredentials | None) -> str:
    """Save an S3 prefix or a folder, whichever the URI is, and forget the other kind."""
    name = blocks.named(name, config.environment)
    if credentials and uri.startswith("s3://"):
        s3_block(uri, credentials).save(name, overwrite=True)
        blocks.forget(LocalFileSystem, name)
        return f"s3-bucket/{name}"
    LocalFileSystem(basepath=str(Path(uri).expanduser().resolve())).save(name, overwrite=True)
    blocks.forget(S3Bucket, name)
    return f"local-file-system/{name}"


def main() -> int:
    """Save the blocks and try each; one line and status 1 where that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m tasks.save_blocks", description=__doc__)
    parser.add_argument("--unchecked", action="store_true", help="save them and do not try them")
    parser.add_argument(
        "--temporary-credentials",
        action="store_true",
        help="store AWS credentials that expire; whoever sees the block can read their token",
    )
    return print_all(_save_and_check(parser.parse_args()))


def _save_and_check(arguments: argparse.Namespace) -> Iterator[str]:
    config = settings.load()
    for slug in save(config, temporary=arguments.temporary_credentials):
        yield f"saved block {slug}"
    if not arguments.unchecked:
        yield from check(config.environment)


if __name__ == "__main__":
    sys.exit(main())
