"""What every page shows around itself: the servers, the rooms of the present one, who is signed in."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from dbadmin.models import Server
from dbadmin.pages import Page, ordered
from dbadmin.permissions import RIGHTS, grants_of, may, may_anywhere


def address(page: Page, server: str) -> str:
    """Where a room is."""
    if page.url_name:
        return reverse(page.url_name, args=[server])
    return reverse("page", args=[server, page.name]) if page.name else reverse("server", args=[server])


def rooms(user: Any, server: Server, path: str) -> list[dict[str, Any]]:
    """The rooms that the person may enter, in groups: [{title, items: [{title, url, current}]}]."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for page in ordered():
        if not may(user, page.permission, server):
            continue
        url = address(page, server.name)
        here = path == url if not page.name else path.startswith(url)
        groups.setdefault(page.group, []).append({"title": page.title, "url": url, "current": here})
    return [{"title": title, "items": items} for title, items in groups.items()]


def present(request: HttpRequest) -> str:
    """The name of the server that the address speaks of, or ""."""
    match = request.resolver_match
    return str(match.kwargs.get("server_name", "")) if match else ""


def context(request: HttpRequest) -> dict[str, Any]:
    """The context processor; lazy, so that a page without a frame costs nothing."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated or not grants_of(user):
        return {}
    servers = list(Server.objects.visible_to(user).only("name", "environment", "tags", "primary_id"))
    name = present(request)
    here = next((server for server in servers if server.name == name), None)
    return {
        "nav_servers": servers,
        "nav_server": here,
        "nav_rooms": rooms(user, here, request.path) if here else [],
        "nav_may": {right.replace(".", "_"): may_anywhere(user, right) for right in RIGHTS},
    }
