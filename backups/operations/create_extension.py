"""Create an extension that the server's host has and a database lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from psycopg import sql

from backups import packages, preflight
from backups.forms import DatabaseField, databases
from dbadmin.models import Server
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Sql, Step

_KNOWN = """
    select a.default_version as version, a.comment,
           exists (select from pg_catalog.pg_extension e where e.extname = a.name) as is_there,
           coalesce((select v.superuser and not v.trusted from pg_catalog.pg_available_extension_versions v
                     where v.name = a.name and v.version = a.default_version), true) as guarded,
           pg_catalog.current_setting('is_superuser') = 'on' as is_superuser, current_user as role,
           pg_catalog.has_database_privilege(pg_catalog.current_database(), 'create') as may_create
    from pg_catalog.pg_available_extensions a where a.name = %s"""


class CreateExtensionForm(forms.Form):
    """Which, and where."""

    database = DatabaseField(max_length=63)
    name = forms.CharField(max_length=63, label="Extension")

    def __init__(self, *args: Any, server: Server | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if server is not None:
            self.fields["database"].offer(databases(server))  # type: ignore[attr-defined]


class CreateExtension(Operation):
    """Create an extension in a database; what uses it can then be restored there."""

    title = "Create extension"
    risk = Risk.LOADS
    for_admins = True
    Form = CreateExtensionForm

    def target(self) -> str:
        return f"{self.params['name']} in {self.params['database']}"

    def plan(self) -> Sequence[Step]:
        name, database = str(self.params["name"]), str(self.params["database"])
        preflight.database_of(self.server, database)
        found = self.server.row(_KNOWN, [name], database=database)
        if found is None:
            major = int(self.server.value("select current_setting('server_version_num')::int")) // 10000
            raise Refused(
                f"The host of {self.server} has no extension {name}. {packages.of_extension(name, major)}",
                field="name",
            )
        if found.is_there:
            raise Refused(f"{database} has the extension {name} already.", field="name")
        if not found.is_superuser and (found.guarded or not found.may_create):
            raise Refused(
                f"{found.role} may not create {name} in {database}. "
                + ("Only a superuser may." if found.guarded else "It lacks CREATE on the database.")
            )
        quoted = sql.Identifier(name)
        return [
            Sql(
                sql.SQL("CREATE EXTENSION {}").format(quoted),
                database=database,
                reverse=sql.SQL("DROP EXTENSION {}").format(quoted).as_string(None),
                says=f"{name} {found.version}: {found.comment}",
            )
        ]
