"""What every page shows around itself: the servers, the rooms of the present one, who is signed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import SafeString, mark_safe

from dbadmin import two_people
from dbadmin.addresses import where
from dbadmin.models import Role, Server
from dbadmin.pages import Page, ordered
from dbadmin.permissions import grants_of, may, may_anywhere, servers_of

#: The keys after `g`, by the room's name.
KEYS = {"": "o", "queries": "q", "activity": "a", "tables": "t", "indexes": "i", "backups": "b", "audit": "u"}


@dataclass
class Room:
    """One entry."""

    title: str
    url: str
    current: bool = False
    key: str = ""
    count: int = 0

    @property
    def html(self) -> str:
        """Its line; written here, as all rooms of all pages are, because a template takes ten times as long."""
        here = ' aria-current="page"' if self.current else ""
        key = f' data-key="{escape(self.key)}"' if self.key else ""
        count = f'<span class="count">{self.count}</span>' if self.count else ""
        return f'<li><a href="{escape(self.url)}"{here}{key}>{escape(self.title)}{count}</a></li>'


@dataclass
class Group:
    """Entries under a heading."""

    title: str
    rooms: list[Room]


@dataclass
class Place:
    """A server in the switcher."""

    name: str
    url: str
    environment: str
    current: bool

    @property
    def html(self) -> str:
        """Its line in the switcher."""
        here = ' aria-current="true"' if self.current else ""
        note = f'<span class="note">{escape(self.environment)}</span>'
        return f'<a href="{escape(self.url)}"{here}>{escape(self.name)} {note}</a>'


@dataclass
class Navigation:
    """All of it; empty for strangers."""

    servers: list[Place] = field(default_factory=list)
    server: Server | None = None
    groups: list[Group] = field(default_factory=list)
    account: list[Room] = field(default_factory=list)
    role: str = ""
    login_url: str = ""
    logout_url: str = ""

    @property
    def rooms_html(self) -> SafeString:
        """All rooms under their headings."""
        html = []
        for group in self.groups:
            heading = f"<h2>{escape(group.title)}</h2>" if group.title else ""
            html.append(f"{heading}<ul>{''.join(room.html for room in group.rooms)}</ul>")
        return mark_safe("".join(html))  # noqa: S308 - each part is escaped where it is written

    @property
    def servers_html(self) -> SafeString:
        """The lines of the switcher."""
        return mark_safe("\n".join(server.html for server in self.servers))  # noqa: S308 - escaped in html


def address(page: Page, server: str) -> str:
    """Where a room is."""
    if page.url_name:
        return where(page.url_name, server)
    return where("page", server, page.name) if page.name else where("server", server)


def rooms_of(user: Any, server: Server, path: str) -> list[Group]:
    """The rooms of a server that the person may enter."""
    groups: dict[str, list[Room]] = {}
    above = {page.below for page in ordered() if page.below and path == address(page, server.name)}
    for page in ordered():
        if page.hidden or not may(user, page.permission, server):
            continue
        url = address(page, server.name)
        here = path.startswith(url) if page.name else path == url
        here = here or page.name in above
        groups.setdefault(page.group, []).append(Room(page.title, url, here, KEYS.get(page.name, "")))
    return [Group(title, rooms) for title, rooms in groups.items()]


@dataclass(frozen=True)
class WideRoom:
    """A room that belongs to no server. count: what is waiting there for this person."""

    title: str
    url_name: str
    right: str
    key: str = ""
    order: int = 50
    count: Callable[[Any], int] | None = None
    group: str = ""


#: The heading, below the server's own rooms, of what is looked at seldom.
SET_UP = "Administration"
#: Rooms that belong to no server; apps add theirs.
WIDE = [
    WideRoom("Fleet", "fleet", "runs.view", "f", 10),
    WideRoom("Runs", "runs", "runs.view", "r", 20),
    WideRoom("Approvals", "approvals", "runs.approve", "", 25, two_people.count),
    WideRoom("Schedules", "schedules", "schedules.view", "s", 30),
    WideRoom("Servers", "server_list", "servers.change", "", 60, group=SET_UP),
    WideRoom("People", "people", "users.change", "", 70, group=SET_UP),
    WideRoom("Events", "events", "events.view", "", 80, group=SET_UP),
]


def register(room: WideRoom) -> None:
    """Called once by an app that is ready."""
    WIDE.append(room)
    WIDE.sort(key=lambda each: each.order)


def wide(user: Any, path: str, group: str = "") -> Group:
    """The rooms of the whole house, of one group."""
    rooms = []
    for each in WIDE:
        if each.group != group:
            continue
        url = where(each.url_name)
        if may_anywhere(user, each.right):
            here = path == url if url == "/" else path.startswith(url)
            rooms.append(Room(each.title, url, here, each.key, each.count(user) if each.count else 0))
    return Group(group, rooms)


def account_links() -> list[Room]:
    """The person's own pages."""
    return [
        Room("Password", where("account_change_password")),
        Room("Second factors and passkeys", where("mfa_index")),
        Room("Sessions", where("usersessions_list")),
        Room("API tokens", where("tokens")),
    ]


def build(request: HttpRequest) -> Navigation:
    """Everything around the page for the person who asks."""
    user = request.user
    base = {"login_url": where("account_login"), "logout_url": where("account_logout")}
    if not user.is_authenticated:
        return Navigation(**base)  # type: ignore[arg-type]
    match = request.resolver_match
    name = match.kwargs.get("server_name", "") if match else ""
    servers = servers_of(user)
    here = next((server for server in servers if server.name == name), None)
    groups = [wide(user, request.path), *(rooms_of(user, here, request.path) if here else [])]
    groups.append(wide(user, request.path, SET_UP))
    best = [role.label for role in reversed(Role) if any(grant.role == role for grant in grants_of(user))]
    return Navigation(
        servers=[
            Place(each.name, each.get_absolute_url(), each.environment, each is here) for each in servers
        ],
        server=here,
        groups=[group for group in groups if group.rooms],
        account=account_links(),
        role=", ".join(best[:2]) or "no role yet",
        **base,
    )


def navigation(request: HttpRequest) -> dict[str, Any]:
    """The context processor; built when a template asks for it."""
    if not hasattr(request, "user"):
        return {}
    return {"navigation": SimpleLazyObject(lambda: build(request)), "nav_may": Rights(request.user)}


class Rights:
    """For templates: nav_may.servers_change; asked only when a template asks."""

    def __init__(self, user: Any) -> None:
        self.user = user

    def __getitem__(self, name: str) -> bool:
        try:
            return may_anywhere(self.user, name.replace("_", ".", 1))
        except KeyError:
            return False
