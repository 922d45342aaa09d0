"""Each paragraph of how-it-works.md and runbook.md names tests that check it, and these tests exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from uuid import UUID

import pytest

from demo.home import PROJECT

DOCS = PROJECT / "docs"
PAGES = [DOCS / "how-it-works.md", DOCS / "runbook.md"]
NOTE = re.compile(r"^\[\^(\w+)\]: (.+)$", re.MULTILINE)
REFERENCE = re.compile(r"(?<!\n)\[\^(\w+)\]")
LINK = re.compile(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)")
# Paragraphs that state nothing about the code: definitions, arithmetic and advice.
WITHOUT_TESTS = (
    "Data moves in batches.",
    "- **Upgrade Prefect or other packages.**",
    "After an ordinary run, the warehouse equals the source",
    "Every five minutes with two tables changed",
)


@cache
def named_tests(path: Path) -> dict[str, bool]:
    """The tests of a module, and whether `make test` runs them: it leaves out those marked campaign."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    marks = [node.value for node in tree.body if isinstance(node, ast.Assign) and _names(node, "pytestmark")]
    module_is_long = any(_is_campaign(mark) for mark in marks)
    return {
        node.name: not (module_is_long or any(_is_campaign(each) for each in node.decorator_list))
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def _names(node: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)


def _is_campaign(mark: ast.expr) -> bool:
    """Whether this is the mark, or a list with it; a mark of a single parameter does not count."""
    each = mark.elts if isinstance(mark, ast.List) else [mark]
    return any(ast.unparse(one) == "pytest.mark.campaign" for one in each)


@cache
def all_tests() -> dict[str, bool]:
    paths = sorted((PROJECT / "tests").rglob("test_*.py"))
    return {name: runs for path in paths for name, runs in named_tests(path).items()}


def blocks(page: Path) -> Iterator[str]:
    """Paragraphs, list items and rows of tables; not headings, code, heads of tables and the notes."""
    text, _, _ = page.read_text(encoding="utf-8").partition("\n## Tests\n")
    text = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^\|.*\n\|[-|: ]+\|$", "", text, flags=re.MULTILINE)
    text = re.sub(r"^#.*$", "", text, flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", text):
        yield from filter(None, map(str.strip, re.split(r"\n(?=\||- )", paragraph)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_paragraph_names_its_tests(page: Path) -> None:
    silent, are_rows_named = [], False
    for block in blocks(page):
        is_row = block.startswith("|")
        is_named = bool(REFERENCE.search(block)) or "`test_" in block or (is_row and are_rows_named)
        if not is_named and not block.startswith(WITHOUT_TESTS):
            silent.append(block[:80])
        # The rows of a table share the note at the end of the sentence above them.
        are_rows_named = are_rows_named if is_row else bool(re.search(r":\[\^\w+\]$", block))
    assert silent == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_note_names_existing_tests_of_which_make_test_runs_one(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    notes = dict(NOTE.findall(text))
    assert set(REFERENCE.findall(text)) == notes.keys()
    for label, note in notes.items():
        links = LINK.findall(note)
        assert re.sub(LINK, "", note).strip(", ") == "", f"{label}: {note}"
        wrong = [name for name, path in links if name not in named_tests(PROJECT / path)]
        assert not wrong, f"{label}: {wrong} do not exist"
        assert any(named_tests(PROJECT / path)[name] for name, path in links), f"{label}: all are long"


def test_of_the_named_tests_each_row_of_the_runbook_make_test_runs_one() -> None:
    rows = [block for block in blocks(DOCS / "runbook.md") if "`test_" in block]
    assert len(rows) > 10
    for row in rows:
        names = re.findall(r"`(test_\w+)`", row)
        assert [name for name in names if name not in all_tests()] == []
        assert any(all_tests()[name] for name in names), f"all are long: {row}"


def test_every_test_that_a_page_names_exists() -> None:
    pages = [*DOCS.rglob("*.md"), *PROJECT.glob("*.md")]
    texts = {page.name: page.read_text(encoding="utf-8") for page in pages}
    tests = {name for text in texts.values() for name in re.findall(r"\btest_\w+\b(?!\.py)", text)}
    assert tests
    assert sorted(tests - all_tests().keys()) == []
    paths = {path for text in texts.values() for path in re.findall(r"tests/[\w/]+(?:\.py|/)", text)}
    assert sorted(path for path in paths if not (PROJECT / path).exists()) == []


def test_each_place_in_the_code_that_a_page_names_exists() -> None:
    named = re.compile(r"`([\w/]+\.py)` \(((?:`[\w.]+`(?:, )?)+)\)")
    places = [
        (path, name)
        for page in (DOCS / "where.md", DOCS / "architecture.md", PROJECT / "CONTRIBUTING.md")
        for path, names in named.findall(page.read_text(encoding="utf-8"))
        for name in re.findall(r"[\w.]+", names)
    ]
    assert len(places) > 50
    assert [f"{path}: {name}" for path, name in places if name.split(".")[-1] not in defined(path)] == []


@cache
def defined(path: str) -> set[str]:
    """The functions, classes and constants of a module, whose path may start below pipeline/."""
    file = PROJECT / path if (PROJECT / path).exists() else PROJECT / "pipeline" / path
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    assigned = [
        ast.unparse(target) for node in nodes if isinstance(node, ast.Assign) for target in node.targets
    ]
    return {*assigned, *(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef))}


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    broken = []
    for page in [*DOCS.rglob("*.md"), *PROJECT.glob("*.md"), PROJECT / "infra" / "README.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            file = (page.parent / path) if path else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(f"{page.name}: {target}")
    assert broken == []


@cache
def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_table_has_reasons_that_the_log_gives() -> None:
    """Reasons to read a table in full stand in the code as the page has them."""
    text = (DOCS / "how-it-works.md").read_text(encoding="utf-8")
    _, _, table = text.partition("| reason in the log |")
    cells = re.findall(r"^\| (?!---)(.+?) \|", table.partition("\n\n")[0], re.MULTILINE)
    reasons = {
        reason.removeprefix("… ")
        for cell in cells
        for reason in re.split(r"\[\^\w+\](?:, )?", cell)
        if reason
    }
    folders = (PROJECT / "pipeline" / name for name in ("capture", "source"))
    code = "".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.glob("*.py"))
    assert len(reasons) > 20
    assert sorted(reason for reason in reasons if f'{reason}"' not in code) == []


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_the_pages_list_the_alerts_that_make_automations_saves() -> None:
    from tasks.save_automations import alerts  # noqa: PLC0415  what it imports takes a second
    from tasks.watchdogs import watchdogs  # noqa: PLC0415

    limit = timedelta(minutes=30)
    saved = [each.name for each in (*alerts("", UUID(int=0), limit), *watchdogs("", limit))]
    for page in ("runbook.md", "watching.md"):
        text = (DOCS / page).read_text(encoding="utf-8")
        listed = re.findall(
            r"`(totesys-[a-z-]+)`", "\n".join(re.findall(r"^\| `totesys-.*?\|", text, re.MULTILINE))
        )
        assert sorted(listed) == sorted(saved), page
