"""Save the Prefect blocks that a run needs from the settings: ``python -m tasks.save_blocks``."""

import sys
from pathlib import Path

from prefect.filesystems import LocalFileSystem
from prefect_aws import AwsCredentials, S3Bucket
from prefect_aws.client_parameters import AwsClientParameters
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from pipeline import settings
from pipeline.errors import PipelineError, SettingsError
from pipeline.settings import PREFIX, Settings
from tasks import blocks

_DRIVER = "postgresql+psycopg"


def save(config: Settings) -> list[str]:
    """Save every block, over what is there; returns their slugs.

    Raises SettingsError that names every setting that is missing.
    """
    needed = ["source_url", "warehouse_url", "raw_uri", "processed_uri"]
    if missing := [PREFIX + name.upper() for name in needed if getattr(config, name) is None]:
        raise SettingsError(f"not set: {', '.join(missing)}; put them into the environment or .env")
    saved = [
        _save_database(blocks.SOURCE, config.source_url),
        _save_database(blocks.WAREHOUSE, config.warehouse_url),
    ]
    credentials = None
    if any(str(uri).startswith("s3://") for uri in (config.raw_uri, config.processed_uri)):
        credentials = _credentials(config)
        credentials.save(blocks.CREDENTIALS, overwrite=True)
        saved.append(f"aws-credentials/{blocks.CREDENTIALS}")
    saved.append(_save_bucket(blocks.RAW, str(config.raw_uri), credentials))
    saved.append(_save_bucket(blocks.PROCESSED, str(config.processed_uri), credentials))
    return saved


def _save_database(name: str, secret: SecretStr | None) -> str:
    """Save a connection with its password as a secret of its own."""
    url = make_url(secret.get_secret_value() if secret else "")
    components = ConnectionComponents(
        driver=_DRIVER,
        username=url.username,
        password=SecretStr(url.password) if url.password else None,
        host=url.host,
        port=url.port,
        database=url.database,
        query={key: str(value) for key, value in url.query.items()} or None,
    )
    SqlAlchemyConnector(connection_info=components).save(name, overwrite=True)
    return f"sqlalchemy-connector/{name}"


def _credentials(config: Settings) -> AwsCredentials:
    return AwsCredentials(
        aws_access_key_id=config.aws_access_key_id,
        aws_secret_access_key=config.aws_secret_access_key,
        aws_session_token=config.aws_session_token.get_secret_value() if config.aws_session_token else None,
        profile_name=config.aws_profile,
        region_name=config.aws_region or config.aws_default_region,
        aws_client_parameters=AwsClientParameters(
            endpoint_url=config.aws_endpoint_url_s3 or config.aws_endpoint_url
        ),
    )


def _save_bucket(name: str, uri: str, credentials: AwsCredentials | None) -> str:
    """Save an S3 prefix or a folder, whichever the URI is, and forget the other kind."""
    if credentials and uri.startswith("s3://"):
        bucket_name, _, prefix = uri.removeprefix("s3://").partition("/")
        S3Bucket(bucket_name=bucket_name, bucket_folder=prefix, credentials=credentials).save(
            name, overwrite=True
        )
        blocks.forget(LocalFileSystem, name)
        return f"s3-bucket/{name}"
    LocalFileSystem(basepath=str(Path(uri).expanduser().resolve())).save(name, overwrite=True)
    blocks.forget(S3Bucket, name)
    return f"local-file-system/{name}"


def main() -> int:
    """Save the blocks and say which; one line and status 1 where that cannot be."""
    try:
        for slug in save(settings.load()):
            print(f"saved block {slug}")
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
