"""Every component renders in every state, without inline code, and people of all abilities can use it."""

import re
from pathlib import Path

import pytest
from django.template.loader import render_to_string

from dbadmin.probes import Problem

TEMPLATES = Path(__file__).parents[2] / "templates"
#: Room above and below the words of a button in a table's row.
MARGINS = """() => {
  const button = document.querySelector("td.row-actions > a.button");
  const range = document.createRange();
  range.selectNodeContents(button.firstChild);
  const [outer, inner] = [button.getBoundingClientRect(), range.getBoundingClientRect()];
  return [inner.top - outer.top, outer.bottom - inner.bottom];
}"""
INLINE = re.compile(
    r"\sstyle=|\son[a-z]+=|<style|javascript:|hx-on|<script(?![^>]*(src=|type=\"application/json\"))"
)


def test_shows_every_state(client_as):
    page = client_as("viewer").get("/style/").content.decode()
    for word in (
        "Critical",
        "Warning",
        "OK",
        "Unknown",
        "Not renewed since",
        "Nothing matches",
        "No session waits",
    ):
        assert word in page
    assert "<script>alert(1)" not in page


def test_strangers_are_sent_to_the_door(client_as):
    assert client_as("").get("/style/").headers["Location"] == "/accounts/login/?next=/style/"


@pytest.mark.parametrize(
    "template", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: str(path.relative_to(TEMPLATES))
)
def test_no_template_carries_inline_code(template):
    text = re.sub(r"\{%.*?%\}|\{#.*?#\}", "", template.read_text())
    assert not INLINE.search(text), INLINE.search(text)


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_pages_of_trouble_need_neither_person_nor_database(status):
    page = render_to_string(f"{status}.html", {"exception": "<b>because</b>"})
    assert page.count("<h1>") == 1
    assert "<b>because" not in page
    assert "Back to the fleet" in page


def test_a_refusal_says_whose_role_is_needed(client_as):
    answer = client_as("viewer").get("/settings/people/")
    assert answer.status_code == 403
    assert "This needs the role admin." in answer.content.decode()


def test_what_a_server_cannot_tell_is_said_quietly_and_not_as_a_warning():
    page = render_to_string("_problem.html", {"problem": Problem("unsupported", "Only a standby can tell.")})
    assert "Only a standby can tell." in page
    assert "warning" not in page


def test_the_rooms_of_a_server_stand_between_the_daily_and_the_seldom(client_as, server):
    page = client_as("admin").get(f"/servers/{server.name}/").content.decode()
    navigation = page[page.index('id="nav"') : page.index("</nav>")]
    assert re.findall(r"<h2>([^<]+)</h2>", navigation) == [
        "See",
        "Safety",
        "Data",
        "Server",
        "Administration",
    ]
    rooms = re.findall(r"<a href=[^>]+>([^<]+)</a>", navigation[navigation.index('class="rooms"') :])
    daily, seldom = rooms[: rooms.index("Overview")], rooms[rooms.index("Servers") :]
    assert daily[0] == "Fleet"
    assert {"Alerts", "Runs", "Schedules"} <= set(daily)
    assert {"Stores", "People", "Events"} <= set(seldom)


@pytest.mark.browser
def test_the_words_of_a_button_in_a_row_stand_in_its_middle(page_as):
    page = page_as("admin")
    page.goto("/style/")
    above, below = page.evaluate(MARGINS)
    assert abs(above - below) <= 1


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_axe_finds_nothing_serious_and_nothing_overflows(page_as, axe, scheme, width):
    page = page_as("admin", width=width, scheme=scheme)
    page.goto("/style/")
    page.wait_for_selector("#chart-size canvas")
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.browser
def test_the_theme_can_be_chosen_and_is_remembered(page_as):
    page = page_as("admin")
    page.goto("/style/")
    dark = page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor")
    page.click("#theme")
    page.click("#theme")
    assert page.get_attribute("#theme", "aria-label") == "Theme: dark"
    page.reload()
    assert page.get_attribute("html", "data-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor") != dark


@pytest.mark.browser
def test_keys_go_to_rooms_search_and_help_and_can_be_turned_off(page_as):
    page = page_as("admin")
    page.goto("/style/")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"
    page.keyboard.type("g?")
    assert page.input_value("#f-q") == "g?", "keys are letters while one types"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.uncheck("#keys-on")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert not page.is_visible("#keys")


@pytest.mark.browser
def test_dragging_over_a_chart_makes_an_address(page_as):
    page = page_as("admin")
    page.goto("/style/?db=shop")
    page.wait_for_selector("#chart-size canvas")
    page.wait_for_timeout(500)
    page.locator("#chart-size canvas").scroll_into_view_if_needed()
    box = page.locator("#chart-size canvas").bounding_box()
    page.mouse.move(box["x"] + 300, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + 600, box["y"] + 80, steps=5)
    page.mouse.up()
    page.wait_for_url(re.compile(r"\?db=shop&from=\d{4}-\d\d-\d\dT[^&]+Z&to=.+Z$"))


@pytest.mark.browser
def test_tab_begins_with_the_link_that_skips_the_navigation(page_as):
    page = page_as("admin", height=320)
    page.goto("/settings/events/")
    here = page.locator(".rooms [aria-current]")
    assert here.bounding_box()["y"] + here.bounding_box()["height"] <= 320, "the page's room is in sight"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


@pytest.mark.browser
def test_menus_open_without_our_scripts(page_as):
    page = page_as("admin", width=390)
    page.goto("/style/")
    assert not page.is_visible("#nav")
    page.click("button[popovertarget=nav]")
    assert page.is_visible("#nav")
    page.keyboard.press("Escape")
    assert not page.is_visible("#nav")
