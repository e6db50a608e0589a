"""A panel that many people watch is written once a second for all who have the same rights."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from django.conf import settings
from django.contrib.auth import SESSION_KEY, get_user
from django.db import connection
from django.http import HttpRequest, HttpResponse

from dbadmin.sessions import SessionStore

Answer = Callable[[HttpRequest], HttpResponse]
Item = TypeVar("Item")
#: How long a panel is shown to others, and how long while one of them writes it anew, seconds.
FRESH, RENEWED = 1.0, 0.5
#: Panels and people that one process remembers.
MOST_PANELS, MOST_PEOPLE = 300, 10_000
#: Everything that a person's being signed in, and what they may do, depends on.
PROOF = """
select person.id, session.session_data, person.password, person.is_active, (
    select json_agg(json_build_array(role, server_id, environment, tag) order by role, server_id, environment, tag)
    from dbadmin_grant held where held.user_id = person.id
)::text
from django_session session, auth_user person
where session.session_key = %s and session.expire_date > pg_catalog.now() and person.id = %s
"""


class Proof(NamedTuple):
    """Who is signed in, by what, and what they may."""

    person: int
    session_data: str
    password: str
    is_active: bool
    rights: str | None


def share(response: HttpResponse) -> HttpResponse:
    """Say of an answer that it holds nothing but what the rights of a person let them see."""
    response.is_for_all_alike = True  # type: ignore[attr-defined]
    return response


@dataclass
class Panel:
    """A written panel. sent: its headers as they left the house, once it did."""

    content: bytes
    headers: list[tuple[str, str]]
    until: float
    sent: list[tuple[str, str]] = field(default_factory=list)

    def response(self) -> HttpResponse:
        """The same once more."""
        answer = HttpResponse(self.content)
        for name, value in self.headers:
            answer[name] = value
        return answer


class Kept(Generic[Item]):
    """So many things of one process, the least used forgotten first."""

    def __init__(self, most: int) -> None:
        self.most, self.lock = most, threading.Lock()
        self.items: OrderedDict[Any, Item] = OrderedDict()

    def get(self, key: Any) -> Item | None:
        """One of them."""
        with self.lock:
            if key in self.items:
                self.items.move_to_end(key)
            return self.items.get(key)

    def put(self, key: Any, item: Item) -> None:
        """Remember."""
        with self.lock:
            self.items[key] = item
            self.items.move_to_end(key)
            while len(self.items) > self.most:
                self.items.popitem(last=False)


PANELS: Kept[Panel] = Kept(MOST_PANELS)
#: Session -> the proof with which its person was seen to be signed in.
PEOPLE: Kept[Proof] = Kept(MOST_PEOPLE)


def written_once(answer: Answer) -> Answer:
    """Answer polls of panels from what was just written for somebody with the same rights.

    Who asks is proven each time, by one statement: a session that ended, a person who was locked out or
    got other rights gets no panel that they may not see.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        session = request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")
        is_poll = request.method == "GET" and request.headers.get("HX-Request") == "true"
        if not session or not is_poll or not request.GET.get("panel"):
            return answer(request)
        proof = proven(session)
        if proof is None:
            return answer(request)
        key = key_of(proof, request.META)
        panel = fresh(key)
        if panel is not None:
            return panel.response()
        response = answer(request)
        # Written for the rights that were read before; who has others by now is not shown it.
        if is_to_keep(response) and proven(session) == proof:
            panel = Panel(response.content, list(response.items()), time.monotonic() + FRESH)
            PANELS.put(key, panel)
            response.panel = panel  # type: ignore[attr-defined]
        return response

    return middleware


def key_of(proof: Proof, environ: dict[str, Any]) -> tuple[str | None, ...]:
    """What two polls have in common that may be given the same."""
    names = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "HTTP_ACCEPT_ENCODING")
    return (proof.rights, *(environ.get(name) for name in names))


def is_to_keep(response: HttpResponse) -> bool:
    """Is it a whole panel, without anything that is one person's own?"""
    return (
        getattr(response, "is_for_all_alike", False) and response.status_code == 200 and not response.cookies
    )


def proven(session: str) -> Proof | None:
    """What a signed-in person is and may, as it is now; None for everybody else."""
    known = PEOPLE.get(session)
    if known is not None and read(session, known.person) == known:
        return known
    store = SessionStore(session)
    person = str(store.get(SESSION_KEY, ""))
    proof = read(session, int(person)) if person.isdecimal() else None
    # What is proven was read before it is proven: when it changes meanwhile, it is proven anew the next time.
    asked = HttpRequest()
    asked.session = store
    if proof is None or not proof.is_active or get_user(asked).pk != proof.person:
        return None
    PEOPLE.put(session, proof)
    return proof


def read(session: str, person: int) -> Proof | None:
    """Everything that a proof is about; None without such a session or person."""
    with connection.cursor() as cursor:
        cursor.execute(PROOF, [session, person])
        row = cursor.fetchone()
    return Proof(*row) if row else None


def fresh(key: Any) -> Panel | None:
    """A panel written a moment ago; whoever finds it old writes it anew while the others still get the old one."""
    panel = PANELS.get(key)
    now = time.monotonic()
    if panel is None or now < panel.until:
        return panel
    panel.until = now + RENEWED
    return None
