"""A world that is returned to an earlier state, which is quicker than to bring another one there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.flows.support import World


@dataclass(frozen=True)
class SavedWorld:
    """A world, and copies of its buckets and its warehouse; its source is not saved."""

    world: World

    @classmethod
    def of(cls, world: World) -> SavedWorld:
        """Save the present state of a world."""
        saved = cls(world)
        for bucket in saved._buckets:
            shutil.copytree(bucket, saved._copy(bucket))
        saved._copy_database(saved._warehouse, f"{saved._warehouse}_saved")
        return saved

    def restore(self) -> World:
        """The world, in the state that was saved."""
        for bucket in self._buckets:
            shutil.rmtree(bucket)
            shutil.copytree(self._copy(bucket), bucket)
        self._copy_database(f"{self._warehouse}_saved", self._warehouse)
        return self.world

    @property
    def _buckets(self) -> tuple[Path, Path]:
        return Path(self.world.raw_uri), Path(self.world.processed_uri)

    @property
    def _warehouse(self) -> str:
        return str(conninfo_to_dict(self.world.warehouse_url)["dbname"])

    def _copy(self, bucket: Path) -> Path:
        return self.world.home / "saved" / bucket.name

    def _copy_database(self, existing: str, copy: str) -> None:
        url = make_conninfo(self.world.warehouse_url, dbname="postgres")
        statements = (
            "DROP DATABASE IF EXISTS {copy} WITH (FORCE)",
            "CREATE DATABASE {copy} TEMPLATE {existing}",
        )
        names = {"copy": sql.Identifier(copy), "existing": sql.Identifier(existing)}
        with psycopg.connect(url, autocommit=True) as connection:
            for text in statements:
                connection.execute(sql.SQL(text).format(**names))
