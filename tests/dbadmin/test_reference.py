"""The written references say what the registries hold."""

from pathlib import Path

import pytest

from dbadmin import reference
from dbadmin.operations import REGISTRY
from dbadmin.pages import PAGES
from dbadmin.probes import PROBES

DOCS = Path(__file__).parents[2] / "docs"
SAY = "run manage.py reference"


def test_the_references_are_up_to_date() -> None:
    assert (DOCS / "probes.md").read_text() == reference.probes_page(), SAY
    assert (DOCS / "operations.md").read_text() == reference.operations_page(), SAY


@pytest.mark.parametrize("name", sorted(PROBES))
def test_a_probe_tells_what_it_is_and_offers_what_exists(name: str) -> None:
    probe = PROBES[name]
    assert probe.title[0].isupper()
    assert probe.about.endswith(".")
    assert probe.empty.endswith((".", "…", "=orders."))
    assert not [action.operation for action in probe.actions if action.operation not in REGISTRY]


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_an_operation_tells_what_it_does(name: str) -> None:
    operation = REGISTRY[name]
    assert operation.title[0].isupper()
    assert operation.about().endswith(".")


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_shows_probes_that_exist(name: str) -> None:
    for panel in PAGES[name].panels:
        assert panel.probe in PROBES
