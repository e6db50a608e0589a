"""What every page shows around itself: the servers, the rooms of the present one, who is signed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

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


def address(page: Page, server: str) -> str:
    """Where a room is."""
    if page.url_name:
        return where(page.url_name, server)
    return where("page", server, page.name) if page.name else where("server", server)


def rooms_of(user: Any, server: Server, path: str) -> list[Group]:
    """The rooms of a server that the person may enter."""
    groups: dict[str, list[Room]] = {}
    for page in ordered():
        if page.hidden or not may(user, page.permission, server):
            continue
        url = address(page, server.name)
        here = path.startswith(url) if page.name else path == url
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
