"""The page in a real browser without network: it draws, fits a phone, follows the theme and the warehouse."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

from demo.home import PROJECT
from tests.dashboard.chromium import Browser, browser
from tests.dashboard.test_pages import ALL, PAGES
from tests.support import execute

pytestmark = pytest.mark.campaign  # needs a browser, and takes half a minute

DESKTOP, PHONE = (1440, 900), (390, 844)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_fits_and_asks_no_other_server(
    chromium: Browser, page: httpx.Client, path: str, size: tuple[int, int], theme: str
) -> None:
    chromium.resize(*size)
    chromium.open(f"{str(page.base_url).rstrip('/')}{path}?{ALL}", theme)
    assert chromium.evaluate("document.documentElement.scrollWidth") <= size[0]
    background = chromium.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 300) == (theme == "dark")
    assert chromium.problems(str(page.base_url)) == []


def test_a_filter_applies_at_once_and_the_theme_stays(chromium: Browser, page: httpx.Client) -> None:
    chromium.resize(*DESKTOP)
    chromium.open(f"{str(page.base_url).rstrip('/')}/?{ALL}")
    chromium.evaluate("document.getElementById('theme').click()")
    chromium.evaluate(
        "(() => { const field = document.querySelector('[name=currency]'); field.value = 'GBP';"
        " field.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )
    chromium.wait_until("location.search.includes('currency=GBP')")
    chromium.wait_until("document.readyState == 'complete'")
    assert chromium.evaluate("document.documentElement.dataset.theme") == "dark"
    chromium.evaluate("localStorage.clear()")


def test_the_numbers_move_with_a_new_batch(chromium: Browser, page: httpx.Client, shop_url: str) -> None:
    chromium.open(f"{str(page.base_url).rstrip('/')}/?{ALL}")
    chromium.evaluate("document.getElementById('main').dataset.mark = 'old'")
    execute(shop_url, "UPDATE etl.batch SET snapshot_at = snapshot_at + interval '1 second'"
            " WHERE snapshot_at = (SELECT max(snapshot_at) FROM etl.batch)")  # fmt: skip
    chromium.wait_until("!document.getElementById('main').dataset.mark")
    chromium.wait_until("document.querySelectorAll('.main-svg').length > 3")


def test_the_page_starts_within_three_seconds(shop_url: str) -> None:
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "dashboard", "--port", "0"],
        cwd=PROJECT, env={"TOTESYS_DASHBOARD_URL": shop_url}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        line = process.stdout.readline()
        httpx.get(f"{line.split()[1]}/static/style.css").raise_for_status()
        assert time.monotonic() - began < 3
    finally:
        process.terminate()
        process.communicate()
