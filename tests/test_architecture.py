"""The shape of the house holds."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
APPS = {"monitoring", "backups", "audit", "maintenance"}
SOURCES = sorted(
    path
    for app in [*APPS, "dbadmin"]
    for path in (ROOT / app).rglob("*.py")
    if "migrations" not in path.parts
)
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))


def imported(path: Path) -> set[str]:
    """The top-level packages that a module imports, wherever in it."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_apps_know_dbadmin_and_not_each_other(path: Path) -> None:
    strangers = APPS - {path.relative_to(ROOT).parts[0]}
    assert not strangers & imported(path)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_for_and_is_one_room(path: Path) -> None:
    text = path.read_text()
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert text.count("\n") <= 500, "longer than 500 lines"


def test_no_file_is_named_for_nothing() -> None:
    empty_names = {"utils.py", "helpers.py", "common.py", "misc.py", "services.py"}
    assert not [path for path in SOURCES if path.name in empty_names]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT)))
def test_templates_hold_no_script_and_no_style(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\son[a-z]+=", text), "an event handler in an attribute"
    assert not re.search(r"\sstyle=", text), "a style attribute"
    assert not re.search(r"<script(?![^>]*\ssrc=)", text), "a script without a file"
    assert "<style" not in text
