"""A small shop's warehouse after two batches, and the page on it."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
import uvicorn

from dashboard.app import create
from dashboard.warehouse import Warehouse
from demo import shop
from demo.home import PROJECT
from demo.postgres import Postgres
from pipeline.lake.buckets import folder
from tests import house
from tests.house import plan_batch
from tests.support import database, execute

ORDERS = 60
# The other currencies have none.
RATES = "rate_date,currency_code,rate,reporting_currency\n2020-01-01,GBP,1.25,USD\n"
# Between the batches: a silent edit, a new price, an order that is gone, a payment that is made.
CHANGES = (
    "UPDATE sales_order SET agreed_delivery_date = '2031-02-03' WHERE sales_order_id = 7",
    "UPDATE sales_order SET unit_price = unit_price + 1, last_updated = now() WHERE sales_order_id = 8",
    (
        "DELETE FROM payment WHERE transaction_id IN"
        " (SELECT transaction_id FROM transaction WHERE sales_order_id = 9)"
    ),
    "DELETE FROM transaction WHERE sales_order_id = 9",
    "DELETE FROM sales_order WHERE sales_order_id = 9",
    "UPDATE staff SET last_name = '<b>O''Keefe & Sons</b>' WHERE staff_id = 1",
)


@pytest.fixture(scope="session")
def shop_url(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The warehouse; tests only read it."""
    made = tmp_path_factory.mktemp("dashboard")
    with database(postgres, "source") as source, database(postgres, "warehouse") as url:
        with psycopg.connect(source) as connection:
            shop.create(connection)
            shop.fill(connection, orders=ORDERS)
        models = shutil.copytree(PROJECT / "transforms", made / "transforms")
        (models / "seeds" / "exchange_rate.csv").write_text(RATES, encoding="utf-8")
        loaded = house.Warehouse(
            url, Path(models), folder(str(made / "raw")), folder(str(made / "processed"))
        )
        for changes in ((), CHANGES):
            execute(source, *changes)
            _, manifest = plan_batch(source, loaded)
            assert manifest is not None
            loaded.bring(manifest)
        yield url


@contextmanager
def served(url: str, timeout: float = 30) -> Iterator[httpx.Client]:
    """A client of the page on a warehouse, served as users get it; queries end after ``timeout`` seconds."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(create(Warehouse(url, timeout=timeout)), log_level="critical", ws="none")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def page(shop_url: str) -> Iterator[httpx.Client]:
    """A client of the page on the shop's warehouse."""
    with served(shop_url) as client:
        yield client
