"""The rights that messages name are those that the page and the role in AWS have."""

from __future__ import annotations

import re

from demo.home import PROJECT
from pipeline import s3_errors

PAGE = PROJECT / "docs" / "s3.md"


def test_the_page_and_the_role_in_aws_have_the_rights_that_messages_name() -> None:
    (paragraph,) = re.findall(r"^The role needs .*?\n\n", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    documented = set(re.findall(r"`s3:(\w+)`", paragraph))
    assert documented == {*s3_errors._RIGHTS.values(), "PutObject", "AbortMultipartUpload"}
    terraform = (PROJECT / "infra" / "roles.tf").read_text("utf-8")
    assert set(re.findall(r'"s3:([A-Z]\w+)"', terraform)) == documented
