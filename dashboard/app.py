"""The web application: one address for each page, export and file."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import FileResponse, RedirectResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from dashboard import business, debts, exports, history
from dashboard.filters import FilterError, Filters, parse
from dashboard.page import Page, choices, open_page
from dashboard.rendering import Renderer
from dashboard.warehouse import OtherModels, Warehouse
from dashboard.wording import problem

_logger = logging.getLogger(__name__)
_LOCAL = ("127.0.0.1", "localhost", "::1")
_HEADERS = {
    # The page asks nothing of other servers, and runs no script but its own.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_OF_ANY_MODELS = {"/table", "/health"}
Content = Callable[[Page], dict[str, Any]]
_CONTENTS: dict[str, tuple[str, str, Content]] = {
    "/": ("Overview", "overview.html", business.overview),
    "/sales": ("Sales", "orders.html", business.sales),
    "/purchases": ("Purchases", "orders.html", business.purchases),
    "/owed": ("Owed and due", "owed.html", debts.owed),
    "/amendments": ("Amendments", "amendments.html", history.amendments),
    "/table": ("Tables", "table.html", history.table),
    "/health": ("Health", "health.html", history.health),
}
_MEDIA = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}


def create(warehouse: Warehouse, host: str = "127.0.0.1") -> FastAPI:
    """The application for a warehouse; one that listens on this machine only answers no other host's name."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    renderer = Renderer({path: title for path, (title, _, _) in _CONTENTS.items()})
    app.add_middleware(GZipMiddleware, minimum_size=1000)
    if host in _LOCAL:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*_LOCAL, "[::1]", "testserver"])
    app.middleware("http")(_with_headers)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    app.get("/plotly.js")(_plotly)
    for path in _CONTENTS:
        app.get(path)(_page(warehouse, renderer, path))
    app.get("/export/{name}.{kind}")(_export(warehouse, renderer))
    app.exception_handler(HTTPException)(_missing(renderer))
    return app


async def _with_headers(request: Request, proceed: Callable[[Request], Any]) -> Response:
    response: Response = await proceed(request)
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _plotly() -> Response:
    """The drawing library, from its package."""
    path = Path(str(files("plotly").joinpath("package_data", "plotly.min.js")))
    return FileResponse(path, media_type="text/javascript", headers={"Cache-Control": "max-age=86400"})


def _page(warehouse: Warehouse, renderer: Renderer, path: str) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        try:
            filters = parse(request.query_params)
            with warehouse.reports(filters.as_of) as reports:
                page = open_page(reports, filters, of_shop=path not in _OF_ANY_MODELS)
                return _shown(renderer, request, page, _CONTENTS[path])
        except Exception as error:  # noqa: BLE001  a reader gets one line, whatever failed
            if path == "/" and isinstance(error, OtherModels):
                return RedirectResponse(request.url.replace(path="/table"))
            return _failed(renderer, request, _CONTENTS[path][0], error)

    return respond


def _shown(renderer: Renderer, request: Request, page: Page, kind: tuple[str, str, Content]) -> Response:
    """The page, or only its head if the reader's browser shows the last batch already."""
    title, template, content = kind
    shared: dict[str, object] = {"page": page, "title": title, "days": page.days}
    if not page.of_shop:
        shared["menu"] = [(path, _CONTENTS[path][0]) for path in _CONTENTS if path in _OF_ANY_MODELS]
    if request.headers.get("X-Batch") == str(page.reports.freshness["last_batch"]):
        return renderer.render(request, "base.html", shared, headers={"X-Same-Batch": "1"})
    values = {**shared, "choices": choices(page), **content(page)}
    return renderer.render(request, template, values)


def _failed(renderer: Renderer, request: Request, title: str, error: Exception) -> Response:
    status, line = problem(error)
    if status == 500:  # noqa: PLR2004
        _logger.error("%s", line, exc_info=error)
    return renderer.render(request, "error.html", {"title": title, "line": line}, status)


def _missing(renderer: Renderer) -> Callable[[Request, Exception], Response]:
    def respond(request: Request, _: Exception) -> Response:
        return renderer.render(
            request,
            "error.html",
            {"title": "No such page", "line": "Choose a page of the menu.", "status": 404},
            404,
        )

    return respond


def _export(warehouse: Warehouse, renderer: Renderer) -> Callable[[Request, str, str], Response]:
    def respond(request: Request, name: str, kind: str) -> Response:
        try:
            return _exported(warehouse, parse(request.query_params), name, kind)
        except Exception as error:  # noqa: BLE001  as for pages
            return _failed(renderer, request, "Export", error)

    return respond


def _exported(warehouse: Warehouse, filters: Filters, name: str, kind: str) -> Response:
    """The file, complete before the first byte is sent."""
    if kind not in exports.FORMATS:
        raise FilterError(f"export: write {' or '.join(exports.FORMATS)} behind the view's name")
    file = tempfile.TemporaryDirectory(prefix="dashboard-")
    try:
        path = Path(file.name) / f"rows.{kind}"
        with warehouse.reports(filters.as_of) as reports:
            view = reports.view(name)
            exports.FORMATS[kind](reports, view, filters, open_page(reports, filters).days_of_rows, path)
    except BaseException:
        file.cleanup()
        raise
    headers = {"Content-Disposition": f'attachment; filename="{view.name}.{kind}"'}
    return StreamingResponse(_chunks(file, path), media_type=_MEDIA[kind], headers=headers)


def _chunks(folder: tempfile.TemporaryDirectory[str], path: Path) -> Iterator[bytes]:
    with folder, path.open("rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk
