"""What every page shows around itself: the servers, the rooms of the present one, who is signed in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from dbadmin.models import Role, Server
from dbadmin.pages import Page, ordered
from dbadmin.permissions import grants_of, may, may_anywhere

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
        return reverse(page.url_name, args=[server])
    return reverse("page", args=[server, page.name]) if page.name else reverse("server", args=[server])


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


#: Rooms that belong to no server: title, address name, right, key.
WIDE = (
    ("Fleet", "fleet", "runs.view", "f"),
    ("Runs", "runs", "runs.view", "r"),
    ("Schedules", "schedules", "schedules.view", "s"),
    ("Servers", "server_list", "servers.change", ""),
    ("People", "people", "users.change", ""),
    ("Events", "events", "events.view", ""),
)


def wide(user: Any, path: str) -> Group:
    """The rooms of the whole house."""
    rooms = []
    for title, name, right, key in WIDE:
        url = reverse(name)
        if may_anywhere(user, right):
            rooms.append(Room(title, url, path == url if url == "/" else path.startswith(url), key))
    return Group("", rooms)


def account_links() -> list[Room]:
    """The person's own pages."""
    return [
        Room("Password", reverse("account_change_password")),
        Room("Second factors and passkeys", reverse("mfa_index")),
        Room("Sessions", reverse("usersessions_list")),
        Room("API tokens", reverse("tokens")),
    ]


def build(request: HttpRequest) -> Navigation:
    """Everything around the page for the person who asks."""
    user = request.user
    base = {"login_url": reverse("account_login"), "logout_url": reverse("account_logout")}
    if not user.is_authenticated:
        return Navigation(**base)  # type: ignore[arg-type]
    match = request.resolver_match
    name = match.kwargs.get("server_name", "") if match else ""
    servers = list(Server.objects.visible_to(user))
    here = next((server for server in servers if server.name == name), None)
    best = [role.label for role in reversed(Role) if any(grant.role == role for grant in grants_of(user))]
    return Navigation(
        servers=[
            Place(each.name, each.get_absolute_url(), each.environment, each is here) for each in servers
        ],
        server=here,
        groups=[wide(user, request.path), *(rooms_of(user, here, request.path) if here else [])],
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
