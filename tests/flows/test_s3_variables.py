"""Each AWS variable is used for the data and for Prefect's results alike."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import s3_server
from tests.flows.s3_world import NOWHERE, ROLE, Access, keys_of
from tests.flows.shop_runs import s3_access
from tests.flows.support import ROOT
from tests.s3_server import CREDENTIALS, Server, refusal

pytestmark = pytest.mark.usefixtures("fresh_s3_clients")


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
def test_credentials_are_used_for_data_and_results(
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


def test_variables_of_the_env_file_are_used(
    access: Callable[..., Access], server: Server, tmp_path: Path
) -> None:
    variables = by_web_identity(tmp_path, server) | {"AWS_ENDPOINT_URL_S3": server.url}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    access(NOWHERE).use()
    assert len(set(keys_of(server, "/some/prefix/"))) == 1


def test_a_default_region_and_an_endpoint_for_all_services_are_used(
    access: Callable[..., Access], server: Server
) -> None:
    more = s3_access(server.url) | {"AWS_ENDPOINT_URL": server.url, "AWS_DEFAULT_REGION": "eu-west-3"}
    access(
        {name: value for name, value in more.items() if name not in {"AWS_ENDPOINT_URL_S3", "AWS_REGION"}}
    ).use()
    assert {seen.region for seen in server.seen} == {"eu-west-3"}


def test_a_private_certificate_authority_is_used(access: Callable[..., Access], tmp_path: Path) -> None:
    authority, certificate = s3_server.make_certificate(tmp_path)
    with s3_server.running(certificate) as server:
        access(s3_access(server.url) | {"AWS_CA_BUNDLE": str(authority)}).use()
        assert len(server.seen) >= 4


def test_the_number_of_attempts_and_the_retry_mode_are_used(
    access: Callable[..., Access], server: Server
) -> None:
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
def test_the_setting_of_checksums_is_used(
    access: Callable[..., Access], server: Server, calculated: str
) -> None:
    access(s3_access(server.url) | {"AWS_REQUEST_CHECKSUM_CALCULATION": calculated}).use()
    puts = [seen for seen in server.seen if seen.method == "PUT"]
    assert len(puts) == 2
    for put in puts:
        assert any("checksum" in name for name in put.headers) == (calculated == "when_supported")


def test_a_proxy_is_used(access: Callable[..., Access], server: Server) -> None:
    proxied = {"HTTP_PROXY": server.url, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    reached = access(s3_access("http://s3.example.invalid") | proxied)
    server.refuse = lambda _: refusal("SomethingNew", 400)
    with pytest.raises(Exception, match="SomethingNew"):
        reached.bucket.write_text("data", "x")
    with pytest.raises(Exception, match="SomethingNew"):
        reached.block.write_path("result", b"x")
    assert [seen.headers["host"] for seen in server.seen] == ["s3.example.invalid"] * 2


def test_every_variable_of_the_page_is_tested_here() -> None:
    """Except one, whose address only containers of ECS can reach."""
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
