"""Runs over S3: credentials that are renewed, certificates, prefixes, refusals."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prefect_aws import S3Bucket
from prefect_aws.credentials import _get_client_cached
from werkzeug.wrappers import Response

from tasks import blocks
from tests import s3_server
from tests.flows.s3_world import NOWHERE, ROLE, SALES, keys_of
from tests.flows.support import World, blocks_were_changed, query, words_of
from tests.s3_server import CREDENTIALS, Seen, Server, refusal
from tests.support import KEY, s3_client

pytestmark = pytest.mark.usefixtures("fresh_s3_clients")


# Runs


def over(kiosk: World, uris: dict[str, str], server: Server, **more: str) -> World:
    """The kiosk over two buckets of a server, and with no other access to it than what is given."""
    changes: dict[str, Any] = {**uris}
    return replace(kiosk, **changes, more=NOWHERE | {"AWS_ENDPOINT_URL_S3": server.url} | more)


def test_credentials_that_expire_during_a_run_are_renewed(
    kiosk: World, uris: dict[str, str], server: Server
) -> None:
    """For tables, results, models and the manifest."""
    world = over(kiosk, uris, server, AWS_CONTAINER_CREDENTIALS_FULL_URI=server.url + CREDENTIALS)
    world.save_blocks()
    before = len(server.issued)
    server.lifetime = 5
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
@pytest.mark.rarely("changes0")
def test_an_edited_block_with_an_ambiguous_path_or_expiring_credentials_is_refused(
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
def test_an_edited_block_with_an_unambiguous_path_is_accepted(folder: str) -> None:
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
