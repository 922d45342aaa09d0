"""Settings from the environment or ``.env``. Deployed runs read connections and buckets from blocks."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from pipeline import connection
from pipeline.errors import SettingsError
from pipeline.redaction import learn
from pipeline.words import did_you_mean

# The fewest characters of a key for hashing; `openssl rand -hex 32` makes one of 64.
SHORTEST_KEY = 32
Share = Annotated[float, Field(ge=0, le=1)]
# The shares of a table's rows above which a load that rejects or deletes them fails.
REJECTED_SHARE, DELETED_SHARE = 0.2, 0.5
PREFIX = "TOTESYS_"
_PREFIXES = (PREFIX, "AWS_")
# Names of environments, which are prefixes of block names, for example dev or prod.
ENVIRONMENT = r"^([a-z0-9]+(-[a-z0-9]+)*)?$"
_ENV_FILE = ".env"
_KEYS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
_S3_URI = re.compile(r"s3://(?P<bucket>[A-Za-z0-9._-]+)(?P<prefix>(/.*)?(?<!\s))", re.DOTALL)
# A URI without its second slash; one letter is a drive.
_SCHEME = re.compile(r"\w{2,}:/")
# The pipeline's records, and the catalogue.
_OTHER_SCHEMAS = {"etl", "information_schema"}
# Postgres truncates names after 63 bytes, of which `_reporting` takes 10.
_LONGEST_SCHEMA = 53
# What to write instead of a value that pydantic refuses, by the type of its error.
_REMEDIES = {
    "int_parsing": "write a whole number",
    "float_parsing": "write a number",
    "bool_parsing": "write true or false",
    "greater_than": "write a number above {gt}",
    "greater_than_equal": "write a number of at least {ge}",
    "less_than_equal": "write a number of at most {le}",
    "finite_number": "write a number",
    "literal_error": "write {expected}",
}
# Names and ARNs as AWS Secrets Manager has them.
_SECRET_NAME = re.compile(r"arn:aws[a-z-]*:secretsmanager:[\w:/+=.@!-]+|[\w/+=.@!-]+")


class _EnvFile(EnvSettingsSource):
    """The file ``.env``, read literally; pydantic-settings itself expands ``${x}``, also inside passwords."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        # As pydantic-settings' own sources do for case-insensitive names and env_ignore_empty.
        return {name.lower(): value for name, value in env_file().items() if value}


class Settings(BaseSettings):
    """The ``TOTESYS_*`` and ``AWS_*`` variables."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", populate_by_name=True, frozen=True
    )

    source_url: SecretStr | None = None
    warehouse_url: SecretStr | None = None
    dashboard_url: SecretStr | None = None
    raw_uri: str | None = None
    processed_uri: str | None = None
    source_schema: str = "public"
    warehouse_schema: str = "public"
    transforms: Path = Path("transforms")
    max_rejected_share: Share = REJECTED_SHARE
    max_deleted_share: Share = DELETED_SHARE
    environment: str = Field(
        "", pattern=ENVIRONMENT, description="write small letters, digits and hyphens, such as prod"
    )
    task_runner: str = Field(
        "threads",
        pattern=r"^(threads|dask|ray|(tcp|tls|ucx|ws|wss|ray)://\S+)$",
        description="write threads, dask, ray, or the address of a cluster",
    )
    # Tables, or ranges of large ones, that a run reads at the same time.
    readers: int = Field(3, ge=1, le=64)
    # Pages of 8 kB that one extract task reads at most; 32,768 are 256 MB.
    chunk_pages: int = Field(32_768, ge=1, le=2**31)
    # Seconds that a reader waits for a table of the source that another session is about to alter.
    table_lock_timeout: float = Field(3, gt=0, le=1_000_000)
    # Seconds that a run waits for a lock that another session holds in one of the databases.
    lock_timeout: int = Field(300, ge=1, le=1_000_000)
    # Seconds that a run which reads everything, rebuilds or removes batches waits for another run to finish.
    run_lock_timeout: int = Field(1800, ge=0, le=1_000_000)
    # Seconds that a check beside the models may take.
    check_timeout: int = Field(60, ge=1, le=86_400)
    # Memory that DuckDB uses in each process before it spills to disk.
    duckdb_memory: str = Field(
        "50%",
        pattern=r"^(\d{1,2}(\.\d+)?%|100%|\d+(\.\d+)? ?[KMGT]i?B)$",
        description="write a share of the memory such as 50%, or a size such as 2GB",
    )
    alert_url: SecretStr | None = None
    hash_key: SecretStr | None = Field(
        None,
        min_length=SHORTEST_KEY,
        description=f"write at least {SHORTEST_KEY} characters; openssl rand -hex 32 generates them",
    )
    show_values: bool = False
    aws_access_key_id: str | None = Field(None, validation_alias="AWS_ACCESS_KEY_ID")
    aws_secret_access_key: SecretStr | None = Field(None, validation_alias="AWS_SECRET_ACCESS_KEY")
    aws_session_token: SecretStr | None = Field(None, validation_alias="AWS_SESSION_TOKEN")
    aws_region: str | None = Field(None, validation_alias="AWS_REGION")
    aws_default_region: str | None = Field(None, validation_alias="AWS_DEFAULT_REGION")
    aws_retry_mode: str = Field("standard", validation_alias="AWS_RETRY_MODE")
    aws_max_attempts: int = Field(3, ge=1, validation_alias="AWS_MAX_ATTEMPTS")
    aws_profile: str | None = Field(None, validation_alias="AWS_PROFILE")
    aws_endpoint_url: str | None = Field(None, validation_alias="AWS_ENDPOINT_URL")
    aws_endpoint_url_s3: str | None = Field(None, validation_alias="AWS_ENDPOINT_URL_S3")

    def environment_for(self, requested: str) -> str:
        """The requested environment, or TOTESYS_ENVIRONMENT if none is requested.

        Raises SettingsError if both are set and differ.
        """
        if requested and self.environment and requested != self.environment:
            raise SettingsError(
                f"environment {requested} was requested, but TOTESYS_ENVIRONMENT is {self.environment} here;"
                f" run it where TOTESYS_ENVIRONMENT is {requested} or not set"
            )
        return requested or self.environment

    @property
    def on_cluster(self) -> bool:
        """Whether tasks run in other processes than the flow."""
        return self.task_runner != "threads"

    @field_validator("source_url", "warehouse_url")
    @classmethod
    def _is_postgres(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        text = url.get_secret_value().strip()
        if not is_secret_name(text):
            if not connection.is_url(text):
                raise ValueError(f"is neither of the form {connection.FORM} nor a secret's name")
            _refuse_secret_options(connection.parts_of(connection.of(text)))
        return SecretStr(text)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  it expands values
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  there are none
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Variables of the environment have precedence over ``.env``."""
        return init_settings, env_settings, _EnvFile(settings_cls)

    @field_validator("dashboard_url")
    @classmethod
    def _is_connection(cls, url: SecretStr | None) -> SecretStr | None:
        return SecretStr(connection.of(url.get_secret_value().strip())) if url else None

    def model_post_init(self, _: object) -> None:
        """Register the secrets, so that no text shows them from now on."""
        # The passwords of the databases are registered when their URLs are parsed.
        learn(self.aws_secret_access_key, self.aws_session_token, self.hash_key)
        if self.alert_url:
            learn(*_secrets_of_alerts(self.alert_url.get_secret_value()))

    @field_validator("warehouse_schema")
    @classmethod
    def _is_for_tables(cls, schema: str) -> str:
        if schema in _OTHER_SCHEMAS or schema.startswith("pg_"):
            raise ValueError(f"{schema} is no schema for tables of models; choose another one")
        if len(schema.encode()) > _LONGEST_SCHEMA:
            raise ValueError(
                f"is too long, as schemas are made beside it; use at most {_LONGEST_SCHEMA} bytes"
            )
        return schema

    @field_validator("raw_uri", "processed_uri")
    @classmethod
    def _is_bucket(cls, uri: str | None) -> str | None:
        return one_spelling(uri) if uri and ("://" in uri or _SCHEME.match(uri)) else uri


def one_spelling(uri: str) -> str:
    """An S3 URI without leading, trailing and repeated slashes in its prefix, which clients read differently.

    Raises ValueError if it is not an S3 URI or if its prefix is ambiguous.
    """
    match = _S3_URI.fullmatch(uri)
    if not match:
        raise ValueError("is neither s3://bucket/prefix nor a folder")
    parts = [part for part in match["prefix"].split("/") if part]
    if {".", ".."} & set(parts) or not match["prefix"].isprintable():
        raise ValueError("has '.', '..' or an unprintable character in its prefix; choose another prefix")
    return "/".join([f"s3://{match['bucket']}", *parts])


def is_secret_name(text: str) -> bool:
    """Whether this is the name or ARN of a secret in AWS Secrets Manager, and not a URL."""
    return bool(_SECRET_NAME.fullmatch(text))


def env_file() -> dict[str, str | None]:
    """The names and values of ``.env``, without expansion; raises SettingsError for a NUL byte in one."""
    found = dict(dotenv_values(_ENV_FILE, interpolate=False))
    for name, value in found.items():
        if "\0" in (value or ""):
            raise SettingsError(f"{name} in {_ENV_FILE} holds a NUL byte; write it again")
    return found


def _refuse_secret_options(parts: Mapping[str, str]) -> None:
    """Raise Malformed for a secret other than the password: a block hides only that."""
    for keyword in sorted(parts.keys() & connection.secret_keywords() - {"password"}):
        raise connection.Malformed(
            f"option {keyword}", "a block would show it; keep the URL in AWS Secrets Manager"
        )


def _secrets_of_alerts(urls: str) -> Iterator[str]:
    """The secrets in Apprise URLs: the password before the @, and parts of the path, which may be tokens."""
    for url in re.split(r"[\s,]+(?=\w+://)", urls):
        with suppress(ValueError):
            parts = urlsplit(url)
            for text in (parts.netloc.rpartition("@")[0].partition(":")[2], *parts.path.split("/")):
                yield from (text, unquote(text))


def load() -> Settings:
    """Read all settings; raises SettingsError that names every unknown or malformed one.

    Also copies the ``AWS_*`` variables of ``.env`` into the environment, where boto3 reads them.
    """
    in_file = env_file()
    _export(in_file)
    variables = {name: value for name, value in os.environ.items() if name.upper().startswith(_PREFIXES)}
    return _load(frozenset(variables.items()), frozenset(in_file.items()))


@lru_cache(maxsize=1)
def _load(environment: frozenset[tuple[str, str]], in_file: frozenset[tuple[str, str | None]]) -> Settings:
    """All settings; every connection asks for some, so they are parsed only if a variable has changed."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    problems = [
        *_unknown(sorted(dict(environment)), known, "the environment"),
        *_unknown(sorted(dict(in_file)), known, _ENV_FILE),
    ]
    try:
        settings: Settings | None = Settings()
    except ValidationError as error:
        settings = None
        problems.extend(map(_malformed, error.errors()))
    if settings is None or problems:
        raise SettingsError("; ".join(problems))
    return settings


def _export(in_file: Mapping[str, str | None]) -> None:
    """Copy variables that boto3 reads into the environment, except keys, which the block holds as secrets."""
    for name, value in in_file.items():
        if name.startswith("AWS_") and name not in _KEYS and value:
            os.environ.setdefault(name, value)
    if region := os.environ.get("AWS_REGION"):
        os.environ["AWS_DEFAULT_REGION"] = region  # boto3 knows no other name


def _malformed(error: ErrorDetails) -> str:
    name = str(error["loc"][0])
    shown = name if name.startswith("AWS_") else PREFIX + name.upper()
    field = Settings.model_fields.get(name)
    if field and field.description:
        return f"{shown}: {field.description}"
    return f"{shown}: {remedy(error) or error['msg'].removeprefix('Value error, ')}"


def remedy(error: ErrorDetails) -> str | None:
    """What to write instead of a value of the wrong type or range; None for any other mistake."""
    text = _REMEDIES.get(error["type"])
    return text.format(**error.get("ctx", {})) if text else None


def _unknown(names: Iterable[str], known: set[str], origin: str) -> Iterator[str]:
    for name in names:
        if name.startswith(PREFIX) and name not in known:
            hint = did_you_mean(name, known) or f"; the settings are {', '.join(sorted(known))}"
            yield f"{name} in {origin} is not a setting{hint}"
