"""Who may do what: four roles, granted everywhere or per server, environment or tag."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet

from dbadmin.by_hand import all_of, read
from dbadmin.models import Grant, Role, Server
from dbadmin.operations import REGISTRY, Operation, Risk

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

    from dbadmin.models import Run, ServerQuerySet

#: Asked by every page, and written here since Django would take longer to write it than the answer takes.
SERVERS = f"select {all_of(Server)} from dbadmin_server order by name"  # noqa: S608 - our own names
READ = {Role.VIEWER, Role.OPERATOR, Role.ADMIN}
#: Rights that are no operation, and the roles that have them.
RIGHTS: dict[str, set[Role]] = {
    "monitoring.view": READ,
    "backups.view": READ,
    "maintenance.view": READ,
    "audit.view": {Role.AUDITOR, Role.ADMIN},
    "audit.export": {Role.AUDITOR, Role.ADMIN},
    "runs.approve": {Role.ADMIN},
    "runs.view": {Role.VIEWER, Role.AUDITOR, Role.OPERATOR, Role.ADMIN},
    "events.view": {Role.AUDITOR, Role.ADMIN},
    "schedules.view": READ,
    "schedules.change": {Role.ADMIN},
    "backups.download": {Role.ADMIN},
    "alerts.acknowledge": {Role.OPERATOR, Role.ADMIN},
    "alerts.change": {Role.ADMIN},
    "marks.add": {Role.OPERATOR, Role.ADMIN},
    "servers.change": {Role.ADMIN},
    "stores.change": {Role.ADMIN},
    "users.change": {Role.ADMIN},
}


def roles_for(permission: str) -> set[Role]:
    """The roles that have a right; an operation's follow from its risk, or are admins alone. KeyError for one that
    nobody defined."""
    if permission in RIGHTS:
        return RIGHTS[permission]
    operation = REGISTRY[permission.partition(".")[2]]
    if operation.permission() != permission:
        raise KeyError(permission)
    return roles_to_run(operation, operation.least_risk or operation.risk)


def roles_to_run(operation: type[Operation], risk: Risk) -> set[Role]:
    """Who may run an operation when it has this risk."""
    small = {Role.OPERATOR} if risk in {Risk.HARMLESS, Risk.LOADS} and not operation.for_admins else set()
    return {Role.ADMIN} | small | ({Role.AUDITOR} if operation.for_auditors else set())


def grants_of(user: AbstractBaseUser | AnonymousUser) -> list[Grant]:
    """A person's grants, read once per request."""
    known: list[Grant] | None = getattr(user, "_dbadmin_grants", None)
    if known is None:
        if not user.is_authenticated or not user.is_active:
            return []
        known = list(Grant.objects.filter(user_id=user.pk))
        know_grants(user, known)
    return known


def know_grants(user: Any, grants: list[Grant]) -> None:
    """Remember a person's grants until the request ends."""
    user._dbadmin_grants = grants


def may(user: Any, permission: str, server: Server | None = None) -> bool:
    """Has the person this right (on this server; without one: on every server)?"""
    roles = roles_for(permission)
    return any(grant.role in roles and grant.covers(server) for grant in grants_of(user))


def may_read(user: Any, run: Run) -> bool:
    """May the person see plan and log of a run? Of an operation that writes out rows, not everybody who sees runs."""
    operation = REGISTRY.get(run.operation)
    return operation is None or not operation.reads or may(user, operation.reads, run.server)


def may_anywhere(user: Any, permission: str) -> bool:
    """Has the person this right on any server at all?"""
    roles = roles_for(permission)
    return any(grant.role in roles for grant in grants_of(user))


def require(user: Any, permission: str, server: Server | None = None) -> None:
    """Raise PermissionDenied unless may()."""
    if not may(user, permission, server):
        where = f" on {server}" if server else ""
        needed = " or ".join(sorted(role.value for role in roles_for(permission)))
        raise PermissionDenied(f"This needs the role {needed}{where}.")


def require_parameters(user: Any, operation: Operation) -> None:
    """Raise PermissionDenied unless the person may do it with these parameters, or see what it would do."""
    require(user, operation.required(), operation.server)
    for permission, server in operation.also_required():
        require(user, permission, server)


def require_operation(user: Any, operation: Operation) -> None:
    """Raise PermissionDenied unless the person may do this very change: its parameters may make it riskier."""
    require_parameters(user, operation)
    risk = operation.risk_now()
    roles = roles_to_run(type(operation), risk)
    if not any(grant.role in roles and grant.covers(operation.server) for grant in grants_of(user)):
        needed = " or ".join(sorted(role.value for role in roles))
        raise PermissionDenied(f"This {risk.value}: it needs the role {needed} on {operation.server}.")


def covered(grants: list[Grant]) -> Q:
    """The condition on servers that these grants cover; matches nothing when there are none."""
    condition = Q(pk__in=[])
    for grant in grants:
        if grant.covers(None):
            return Q()
        if grant.server_id:
            condition |= Q(pk=grant.server_id)
        if grant.environment:
            condition |= Q(environment=grant.environment)
        if grant.tag:
            condition |= Q(tags__contains=[grant.tag])
    return condition


def visible_servers(servers: ServerQuerySet, user: Any) -> ServerQuerySet:
    """Servers on which the person has any role."""
    return servers.filter(covered(grants_of(user)))


def servers_of(user: Any) -> list[Server]:
    """The servers on which the person has any role, read once per request."""
    known: list[Server] | None = getattr(user, "_dbadmin_servers", None)
    if known is None:
        grants, found = grants_of(user), read(Server, SERVERS) if grants_of(user) else []
        by_key = {server.pk: server for server in found}
        for server in found:
            server.primary = by_key[server.primary_id] if server.primary_id else None
        known = [server for server in found if any(grant.covers(server) for grant in grants)]
        user._dbadmin_servers = known
    return known


def keys_with(user: Any, permission: str) -> set[int | None]:
    """The ids of the servers on which the person has this right, and None when it is on every server."""
    keys: set[int | None] = {server.pk for server in servers_of(user) if may(user, permission, server)}
    return keys | {None} if may(user, permission) else keys


def servers_with(user: Any, permission: str) -> QuerySet[Server]:
    """Servers on which the person has this right."""
    roles = roles_for(permission)
    return Server.objects.filter(covered([grant for grant in grants_of(user) if grant.role in roles]))
