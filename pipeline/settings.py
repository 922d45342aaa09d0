"""Settings from the environment or ``.env``; blocks hold what a deployed run needs."""

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.errors import SettingsError

PREFIX = "TOTESYS_"
# What stands before the names of an environment's blocks, such as dev or prod.
ENVIRONMENT = r"^([a-z0-9]+(-[a-z0-9]+)*)?$"
_ENV_FILE = ".env"
# Names and ARNs as AWS Secrets Manager has them.
_SECRET_NAME = re.compile(r"arn:aws[a-z-]*:secretsmanager:[\w:/+=.@!-]+|[\w/+=.@!-]+")


class Settings(BaseSettings):
    """What the ``TOTESYS_*`` and ``AWS_*`` variables say."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=_ENV_FILE, env_ignore_empty=True, extra="ignore", populate_by_name=True
    )

    source_url: SecretStr | None = None
    warehouse_url: SecretStr | None = None
    raw_uri: str | None = None
    processed_uri: str | None = None
    source_schema: str = "public"
    warehouse_schema: str = "public"
    transforms: Path = Path("transforms")
    environment: str = Field("", pattern=ENVIRONMENT)
    task_runner: str = Field("threads", pattern=r"^(threads|dask|ray|(tcp|tls|ucx|ws|wss|ray)://\S+)$")
    alert_url: SecretStr | None = None
    aws_access_key_id: str | None = Field(None, validation_alias="AWS_ACCESS_KEY_ID")
    aws_secret_access_key: SecretStr | None = Field(None, validation_alias="AWS_SECRET_ACCESS_KEY")
    aws_session_token: SecretStr | None = Field(None, validation_alias="AWS_SESSION_TOKEN")
    aws_region: str | None = Field(None, validation_alias="AWS_REGION")
    aws_default_region: str | None = Field(None, validation_alias="AWS_DEFAULT_REGION")
    aws_profile: str | None = Field(None, validation_alias="AWS_PROFILE")
    aws_endpoint_url: str | None = Field(None, validation_alias="AWS_ENDPOINT_URL")
    aws_endpoint_url_s3: str | None = Field(None, validation_alias="AWS_ENDPOINT_URL_S3")

    @property
    def on_cluster(self) -> bool:
        """Whether tasks run in other processes than the flow does."""
        return self.task_runner != "threads"

    @field_validator("source_url", "warehouse_url")
    @classmethod
    def _is_postgres(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        if is_secret_name(url.get_secret_value()):
            return url
        try:
            parts = urlsplit(url.get_secret_value())
            named = parts.scheme in {"postgresql", "postgres"} and parts.path.strip("/") and parts.port != 0
        except ValueError:
            named = None
        if not named:
            raise ValueError(
                "is neither of the form postgresql://user:password@host:port/database nor a secret's name"
            )
        return url

    @field_validator("raw_uri", "processed_uri")
    @classmethod
    def _is_bucket(cls, uri: str | None) -> str | None:
        if uri and "://" in uri and not re.fullmatch(r"s3://[^/]+(/.*)?", uri):
            raise ValueError("is neither s3://bucket/prefix nor a folder")
        return uri


def is_secret_name(text: str) -> bool:
    """Whether this may name a secret of AWS Secrets Manager, and is no URL."""
    return bool(_SECRET_NAME.fullmatch(text))


def load() -> Settings:
    """Read all settings; raises SettingsError that names what is unknown or malformed."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    _refuse_unknown(os.environ, known, "the environment")
    _refuse_unknown(dotenv_values(_ENV_FILE), known, _ENV_FILE)
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        shown = name if name.startswith("AWS_") else PREFIX + name.upper()
        raise SettingsError(f"{shown}: {first['msg'].removeprefix('Value error, ')}") from None


def _refuse_unknown(names: Iterable[str], known: set[str], where: str) -> None:
    for name in names:
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(sorted(known))}"
            raise SettingsError(f"{name} in {where} is no setting{hint}")
