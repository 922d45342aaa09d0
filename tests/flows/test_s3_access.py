"""How people reach S3: their own authority, proxies, roles that are renewed, odd prefixes, refusals."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from prefect_aws import S3Bucket
from prefect_aws.credentials import _get_client_cached
from werkzeug.wrappers import Response

from pipeline import settings
from pipeline.lake.buckets import Bucket
from tasks import blocks, save_blocks
from tests import s3_server
from tests.flows.conftest import s3_buckets
from tests.flows.story import KEY, s3_access, s3_client
from tests.flows.support import ROOT, World, blocks_were_changed, query, words_of
from tests.s3_server import CREDENTIALS, Seen, Server, refusal

SALES = "SELECT count(*) FROM fact_sale"
ROLE = "arn:aws:iam::123456789012:role/pipeline"
NOWHERE = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "none",
    "AWS_SHARED_CREDENTIALS_FILE": "none",
}


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """No client of another test, and nothing left that was read from a file .env."""
    _get_client_cached.cache_clear()
    blocks_were_changed()
    with patch.dict(os.environ):
        yield
    blocks_were_changed()


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with s3_server.running() as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    """A server that refuses nothing and has seen nothing."""
    running.refuse, running.lifetime = lambda _: None, None
    running.seen.clear()
    return running


@pytest.fixture
def uris(s3_endpoint: str) -> dict[str, str]:
    """Two new buckets; all of moto's servers in one process have the same."""
    return {name: uri for name, uri in s3_buckets(s3_endpoint).items() if name != "more"}


@dataclass
class Access:
    """What a pipeline with some settings reaches: its raw bucket, for data and for results."""

    block: S3Bucket
    bucket: Bucket

    def use(self) -> None:
        """Write and read back over both ways."""
        self.bucket.write_text("data", "of data")
        assert self.bucket.read_text("data") == "of data"
        self.block.write_path("result", b"of results")
        assert self.block.read_path("result") == b"of results"


@pytest.fixture
def access(tmp_path: Path, uris: dict[str, str]) -> Iterator[Callable[[dict[str, str]], Access]]:
    """A function that makes the raw bucket's block as settings say, without asking Prefect's server."""
    with ExitStack() as stack:

        def reach(more: dict[str, str]) -> Access:
            world = World(tmp_path, "", "", **uris, transforms=tmp_path, more=more)
            stack.enter_context(world.entered())
            config = settings.load()
            block = save_blocks.s3_block(str(config.raw_uri), save_blocks.s3_credentials(config))
            return Access(block, blocks.s3(block))

        yield reach


def keys_of(server: Server, prefix: str = "") -> list[str]:
    return [seen.key for seen in server.seen if prefix in seen.path]


# Variables


def in_shared_file(home: Path, server: Server) -> dict[str, str]:
    file = home / "credentials"
    file.write_text("[work]\naws_access_key_id = AKIASHARED\naws_secret_access_key = secret\n")
    return {"AWS_SHARED_CREDENTIALS_FILE": str(file), "AWS_PROFILE": "work"}


def by_process(home: Path, server: Server) -> dict[str, str]:
    made = json.dumps({"Version": 1, "AccessKeyId": "AKIAPROCESS", "SecretAccessKey": "secret"})
    (home / "made.json").write_text(made)
    command = f"{sys.executable} -c \"print(open('{home}/made.json').read())\""
    (home / "config").write_text(f"[profile work]\ncredential_process = {command}\n")
    return {"AWS_CONFIG_FILE": str(home / "config"), "AWS_PROFILE": "work"}


def by_role(home: Path, server: Server) -> dict[str, str]:
    (home / "config").write_text(
        f"[profile work]\nrole_arn = {ROLE}\nsource_profile = base\n"
        "[profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = secret\n"
    )
    return {
        "AWS_CONFIG_FILE": str(home / "config"),
        "AWS_PROFILE": "work",
        "AWS_ENDPOINT_URL_STS": server.url,
    }


def by_web_identity(home: Path, server: Server) -> dict[str, str]:
    (home / "token").write_text("made-up")
    return {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(home / "token"),
        "AWS_ROLE_ARN": ROLE,
        "AWS_ENDPOINT_URL_STS": server.url,
    }


def by_container(home: Path, server: Server) -> dict[str, str]:
    return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": server.url + CREDENTIALS}


def by_keys(home: Path, server: Server) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": "AKIAKEYS", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (by_keys, "AKIAKEYS"),
        (in_shared_file, "AKIASHARED"),
        (by_process, "AKIAPROCESS"),
        (by_role, r"ASIA\w{16}"),
        (by_web_identity, r"ASIA\w{16}"),
        (by_container, r"ASIA\d{6}"),
    ],
)
def test_credentials_count_for_data_and_results(
    access: Callable[..., Access],
    server: Server,
    tmp_path: Path,
    given: Callable[[Path, Server], dict[str, str]],
    key: str,
) -> None:
    variables = given(tmp_path, server) | {"AWS_ENDPOINT_URL_S3": server.url, "AWS_REGION": "eu-west-2"}
    access(NOWHERE | variables).use()
    for what in ("data", "result"):
        used = keys_of(server, f"/{what}")
        assert len(used) >= 2
        assert [found for found in used if not re.fullmatch(key, found)] == []
    assert {seen.region for seen in server.seen if "/some/prefix/" in seen.path} == {"eu-west-2"}


def test_a_file_counts_as_the_environment_does(
    access: Callable[..., Access], server: Server, tmp_path: Path
) -> None:
    variables = by_web_identity(tmp_path, server) | {"AWS_ENDPOINT_URL_S3": server.url}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    access(NOWHERE).use()
    assert len(set(keys_of(server, "/some/prefix/"))) == 1


def test_a_default_region_and_an_endpoint_for_all_services_count(
    access: Callable[..., Access], server: Server
) -> None:
    more = s3_access(server.url) | {"AWS_ENDPOINT_URL": server.url, "AWS_DEFAULT_REGION": "eu-west-3"}
    access(
        {name: value for name, value in more.items() if name not in {"AWS_ENDPOINT_URL_S3", "AWS_REGION"}}
    ).use()
    assert {seen.region for seen in server.seen} == {"eu-west-3"}


def test_an_authority_of_ones_own_counts(access: Callable[..., Access], tmp_path: Path) -> None:
    authority, certificate = s3_server.make_certificate(tmp_path)
    with s3_server.running(certificate) as server:
        access(s3_access(server.url) | {"AWS_CA_BUNDLE": str(authority)}).use()
        assert len(server.seen) >= 4


def test_attempts_and_the_way_of_retrying_count(access: Callable[..., Access], server: Server) -> None:
    more = {"AWS_MAX_ATTEMPTS": "2", "AWS_RETRY_MODE": "adaptive"}
    reached = access(s3_access(server.url) | more)
    assert reached.block.credentials.get_client("s3").meta.config.retries["mode"] == "adaptive"
    server.refuse = lambda _: refusal("SlowDown", 503)
    with pytest.raises(OSError, match="SlowDown"):
        reached.bucket.write_text("data", "x")
    with pytest.raises(Exception, match="SlowDown"):
        reached.block.write_path("result", b"x")
    assert len(keys_of(server, "/data")) == len(keys_of(server, "/result")) == 2


@pytest.mark.parametrize("calculated", ["when_required", "when_supported"])
def test_checksums_count(access: Callable[..., Access], server: Server, calculated: str) -> None:
    access(s3_access(server.url) | {"AWS_REQUEST_CHECKSUM_CALCULATION": calculated}).use()
    puts = [seen for seen in server.seen if seen.method == "PUT"]
    assert len(puts) == 2
    for put in puts:
        assert any("checksum" in name for name in put.headers) == (calculated == "when_supported")


def test_a_proxy_counts(access: Callable[..., Access], server: Server) -> None:
    proxied = {"HTTP_PROXY": server.url, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    reached = access(s3_access("http://s3.example.invalid") | proxied)
    server.refuse = lambda _: refusal("SomethingNew", 400)
    with pytest.raises(Exception, match="SomethingNew"):
        reached.bucket.write_text("data", "x")
    with pytest.raises(Exception, match="SomethingNew"):
        reached.block.write_path("result", b"x")
    assert [seen.headers["host"] for seen in server.seen] == ["s3.example.invalid"] * 2


def test_every_variable_that_the_page_promises_is_tried_here() -> None:
    """But one: only containers of ECS reach the address that belongs to it."""
    page, here = (
        (ROOT / "docs" / "s3.md").read_text(encoding="utf-8"),
        Path(__file__).read_text(encoding="utf-8"),
    )
    rows = re.findall(r"^\|((?: `[A-Z_0-9]+`,?(?: or)?)+) \|", page, re.MULTILINE)
    promised = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}
    assert len(promised) > 15
    assert {name for name in promised if f'"{name}"' not in here.partition("def test_every_variable")[0]} == {
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "HTTPS_PROXY",
    }


# Runs


def over(kiosk: World, uris: dict[str, str], server: Server, **more: str) -> World:
    """The kiosk over two buckets of a server, and with no other access to it than what is given."""
    changes: dict[str, Any] = {**uris}
    return replace(kiosk, **changes, more=NOWHERE | {"AWS_ENDPOINT_URL_S3": server.url} | more)


def test_credentials_that_expire_during_a_run_are_renewed(
    kiosk: World, uris: dict[str, str], server: Server
) -> None:
    """In tables, results, models and the manifest that seals the batch."""
    world = over(kiosk, uris, server, AWS_CONTAINER_CREDENTIALS_FULL_URI=server.url + CREDENTIALS)
    world.save_blocks()
    before = len(server.issued)
    server.lifetime = 8
    assert world.flow().state.is_completed()
    assert query(world.warehouse_url, SALES) == [(3,)]
    used = keys_of(server)
    assert len(set(used)) > 2 * server.lifetime
    for step in ("/_manifests/", "/_results/", ".parquet"):
        assert keys_of(server, step)
    first = server.issued[before]
    assert server.issued.index(keys_of(server, "/_manifests/")[-1]) > before + server.lifetime
    assert first not in server.issued[-server.lifetime :]


def test_a_run_over_tls_with_an_authority_of_ones_own(
    kiosk: World, uris: dict[str, str], tmp_path: Path
) -> None:
    authority, certificate = s3_server.make_certificate(tmp_path)
    with s3_server.running(certificate) as server:
        world = over(kiosk, uris, server, AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=KEY)
        unknown = words_of(world.run().error)
        assert "the server's certificate is not trusted; set AWS_CA_BUNDLE" in unknown
        assert "\n" not in unknown
        _get_client_cached.cache_clear()
        (kiosk.home / ".env").write_text(f"AWS_CA_BUNDLE={authority}\n")
        assert world.run().state.is_completed()
        assert {"/_manifests/", "/_results/"} <= {found for seen in server.seen for found in parts(seen)}
    assert query(world.warehouse_url, SALES) == [(3,)]


def parts(seen: Seen) -> set[str]:
    return set(re.findall(r"/_\w+/", seen.path))


@pytest.mark.parametrize(
    "prefix",
    ["//a b/ünï/", *(pytest.param(other, marks=pytest.mark.campaign) for other in ("/a//b", "/%20+", "/"))],
)
def test_data_and_results_lie_below_the_same_prefix(
    kiosk: World, uris: dict[str, str], server: Server, s3_endpoint: str, prefix: str
) -> None:
    names = {name: uri.split("/")[2] for name, uri in uris.items()}
    given = {name: f"s3://{bucket}{prefix}" for name, bucket in names.items()}
    world = over(kiosk, given, server, AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=KEY)
    assert world.run().state.is_completed()
    spelled = "/".join(part for part in prefix.split("/") if part)
    for bucket in names.values():
        listed = s3_client(s3_endpoint).list_objects_v2(Bucket=bucket)["Contents"]
        kinds = {item["Key"].removeprefix(f"{spelled}/").partition("/")[0] for item in listed}
        assert [item["Key"] for item in listed if not item["Key"].startswith(f"{spelled}/".lstrip("/"))] == []
        assert "_results" in kinds
        assert len(kinds) > 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bucket_folder": "/a b"}, "spell its folder 'a b', not '/a b', or run `make blocks`"),
        pytest.param(
            {"bucket_folder": "a/../b"}, r"its bucket and folder has '\.'", marks=pytest.mark.campaign
        ),
        pytest.param({"bucket_name": "bucket/a"}, "spell its folder", marks=pytest.mark.campaign),
        pytest.param(
            {"bucket_name": "no bucket"}, "its bucket and folder is neither", marks=pytest.mark.campaign
        ),
        ({"assume_role_arn": ROLE}, "credentials by assume_role_arn expire during a run; name a profile"),
    ],
)
def test_a_block_edited_by_hand_is_refused_where_results_would_stray_or_expire(
    kiosk: World, uris: dict[str, str], server: Server, changes: dict[str, str], words: str
) -> None:
    world = over(kiosk, uris, server, AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=KEY)
    world.save_blocks()
    block: Any = S3Bucket.load("totesys-processed")
    for name, changed in changes.items():
        setattr(block.credentials if name == "assume_role_arn" else block, name, changed)
    block.credentials.save("totesys", overwrite=True)
    block.save("totesys-processed", overwrite=True)
    blocks_were_changed()
    refused = words_of(world.flow().error)
    assert re.search(f"^block s3-bucket/totesys-\\w+: {words}", refused)


@pytest.mark.parametrize("folder", ["a/", "a//b/", "a/b"])
def test_a_block_edited_by_hand_is_taken_where_all_read_it_alike(folder: str) -> None:
    block = S3Bucket(bucket_name="bucket", bucket_folder=folder)
    blocks._refuse_unusable("totesys-raw", block)
    assert blocks.s3(block).uri == f"s3://bucket/{folder.replace('//', '/').strip('/')}"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "no AWS credentials are found; set AWS_ACCESS_KEY_ID"),
        ({"AWS_PROFILE": "nobody"}, "the AWS profile is not in the AWS configuration files of this machine"),
    ],
)
def test_missing_credentials_are_one_line(
    kiosk: World, uris: dict[str, str], server: Server, more: dict[str, str], words: str
) -> None:
    run = over(kiosk, uris, server, **more).run()
    said = words_of(run.error)
    assert words in said
    assert said.startswith(("s3://", "S3 refuses"))
    assert "\n" not in said


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("part", "code", "words"),
    [
        ("/_manifests/", "ExpiredToken", "cannot write _manifests/.*: the credentials have expired"),
        ("/batch=", "KMS.DisabledException", "cannot write .*/part-.*: the bucket's KMS key cannot be used"),
    ],
)
def test_a_refusal_in_the_middle_of_a_run_is_asked_for_once(
    kiosk: World, uris: dict[str, str], server: Server, part: str, code: str, words: str
) -> None:
    world = over(kiosk, uris, server, AWS_ACCESS_KEY_ID=KEY, AWS_SECRET_ACCESS_KEY=KEY)

    def refuse(seen: Seen) -> Response | None:
        meant = seen.method == "PUT" and part in seen.path and "_results" not in seen.path
        return refusal(code, 400) if meant else None

    server.refuse = refuse
    said = words_of(world.run().error)
    assert re.search(words, said)
    asked = [seen.path for seen in server.seen if refuse(seen)]
    assert len(asked) == len(set(asked))
    tables = [path.split("/batch=")[0] for path in asked]
    assert len(tables) == len(set(tables)), "a task was tried again"
    server.refuse = lambda _: None
    assert world.run().state.is_completed()
    assert query(world.warehouse_url, SALES) == [(3,)]
