"""Whatever stands in an address or a form, the answer is a page: no word is an error of ours."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from audit.sealing import seal_next
from audit.search import Filter
from dbadmin.models import Server
from dbadmin.operations import REGISTRY
from tests.carrying_out import carry_out, operation
from tests.dbadmin.test_permissions import ROUTES, filled

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]
WORDS = ("\0", "9" * 40, "2026-13-99T25:61", "ä'\";--{}[1]%s%n../")
HOUSE = Path(__file__).parents[1]
#: Every name that a view asks an address for.
ASKED = (
    {
        name
        for app in ("dbadmin", "monitoring", "backups", "audit", "maintenance")
        for path in (HOUSE / app).rglob("*.py")
        for name in re.findall(r"""(?:GET|POST|get|query)(?:\.get)?[\[(]\s*"([a-z]\w*)\"""", path.read_text())
    }
    | set(Filter.__dataclass_fields__)
) - {"db"}  # a database that is not there has a page of its own
#: Pages of the library for signing in; they end the session, or leave the house.
NOT_OURS = ("accounts/", "static/")


@pytest.fixture
def house(target: Any, server: Server, client_as: Callable[[str], Client]) -> Client:
    """An admin, a server with a watched table, and a sealed log."""
    target.rows("create table users (id int primary key, name text)")
    carry_out(operation("watch_table", server, schema="public", table="users"))
    target.rows("insert into users values (1, 'Ada')")
    seal_next(target.connection, server)
    return client_as("admin")


def answers(answer: Any) -> int:
    """The status of an answer that was read to its end."""
    if answer.streaming:
        b"".join(answer.streaming_content)
    return int(answer.status_code)


def places(server: Server, person: Any) -> Iterator[str]:
    """Every address, filled in."""
    for route, _ in ROUTES:
        if not route.startswith(NOT_OURS):
            address = filled(route, server, person).partition("?")[0]
            yield re.sub(r"<slug:\w+>|<str:\w+>", "csv", re.sub(r"<int:\w+>", "1", address))


@pytest.mark.parametrize("word", WORDS, ids=[repr(word)[:12] for word in WORDS])
def test_no_word_in_an_address_is_an_error(
    word: str, house: Client, server: Server, user_as: Callable[..., Any]
) -> None:
    query = urlencode(dict.fromkeys(ASKED, word))
    for path in places(server, user_as("viewer", "another")):
        if "<" not in path:
            assert answers(house.get(f"{path}?{query}")) < 500, path


@pytest.mark.parametrize("word", WORDS, ids=[repr(word)[:12] for word in WORDS])
def test_no_word_in_an_operations_form_is_an_error(word: str, house: Client, server: Server) -> None:
    for name in sorted(REGISTRY):
        fields = dict.fromkeys(REGISTRY[name].Form.base_fields, word)
        asked = house.get(f"/servers/{server}/do/{name}/", {**fields, "preview": "1"})
        assert asked.status_code < 500, name
        assert house.post(f"/servers/{server}/do/{name}/", fields).status_code < 500, name


@pytest.mark.parametrize("word", WORDS, ids=[repr(word)[:12] for word in WORDS])
def test_no_word_in_another_form_is_an_error(
    word: str, house: Client, server: Server, user_as: Callable[..., Any]
) -> None:
    for path in places(server, user_as("viewer", "another")):
        if "<" not in path and "/do/" not in path:
            page = house.get(path)
            found = [] if page.streaming else re.findall(r'name="([\w-]+)"', page.content.decode())
            fields = dict.fromkeys([*ASKED, *found], word)
            assert answers(house.post(path, fields)) < 500, path
