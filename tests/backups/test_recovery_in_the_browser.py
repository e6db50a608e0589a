"""The rooms of point-in-time recovery in Chromium: a moment is dragged, a cluster opened; nobody is shut out."""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.urls import reverse

from tests.backups.recovering import Source
from tests.backups.test_point_in_time import recover, stop

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def look(page: Any, axe: Callable[[Any], list[str]], name: str, path: str) -> None:
    """It complains of nothing and fits its window."""
    page.goto(path)
    assert axe(page) == [], name
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), name
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"recovery-{name}.png"), full_page=True)


def shown(moment: str) -> datetime:
    """In the page's zone, which the slider writes behind it."""
    return datetime.fromisoformat(moment[:19])


def test_a_moment_is_dragged_and_what_was_recovered_is_opened_in_both_themes(
    source: Source, page_as: Callable[..., Any], axe: Callable[[Any], list[str]]
) -> None:
    source.base()
    for number in range(4):
        source.insert(number)
        source.covered()
    source.do("drill_recovery")
    row = recover(source)
    name = source.server.name
    rooms = {
        "windows": reverse("recovery", args=[name]),
        "kit": reverse("base_kit", args=[name, row.base_id]),
        "tables": reverse("recovered", args=[name, row.pk]),
        "rows": reverse("recovered_rows", args=[name, row.pk]) + "?schema=public&table=moments",
    }
    for scheme, width in (("light", 1440), ("dark", 390)):
        page = page_as("admin", width=width, scheme=scheme)
        for room, path in rooms.items():
            look(page, axe, f"{room}-{scheme}", path)
    page.goto(rooms["windows"])
    latest = shown(page.input_value("#moment"))
    box = page.locator("input.recovery-slider").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] - 8, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 2, middle, steps=5)
    page.mouse.up()
    chosen = page.input_value("#moment")
    assert shown(chosen) < latest
    assert page.get_attribute("input.recovery-slider", "aria-valuetext") == chosen
    page.keyboard.press("ArrowRight")
    later = page.input_value("#moment")
    assert (shown(later) - shown(chosen)).total_seconds() == 1
    page.click("text=Recover to it…")
    page.wait_for_url("**/do/recover_to_moment/**")
    assert parse_qs(urlsplit(page.url).query)["moment"] == [later]
    assert axe(page) == []
    page.goto(rooms["windows"])
    page.get_by_role("link", name=row.target, exact=True).click()
    page.click("text=public.moments")
    page.wait_for_url("**/rows/**")
    assert page.locator("main tbody tr").count() == 4
    stop(source, row)
