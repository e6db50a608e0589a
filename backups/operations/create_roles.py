"""Create roles that a backup names and a server lacks."""

from __future__ import annotations

from collections.abc import Sequence

from django import forms
from psycopg import sql

from backups.before_restore import role_statements
from dbadmin.operations import Operation, Refused, Risk
from dbadmin.steps import Sql, Step, Transaction


def names(text: str) -> list[str]:
    """One a line: a role's name may hold a comma or a blank."""
    return list(dict.fromkeys(line for line in text.splitlines() if line.strip()))


class CreateRolesForm(forms.Form):
    """Their names."""

    names = forms.CharField(widget=forms.Textarea(attrs={"rows": 4}), strip=False, help_text="One a line.")

    def clean_names(self) -> str:
        found = str(self.cleaned_data["names"])
        for name in names(found):
            if name.startswith("pg_"):
                raise forms.ValidationError(f"{name}: PostgreSQL keeps names that begin with pg_ for itself.")
            if name in {"public", "none"}:
                raise forms.ValidationError(f"{name}: PostgreSQL keeps this name for itself.")
            if len(name.encode()) > 63:
                raise forms.ValidationError(f"{name} has more than 63 bytes.")
        return found


class CreateRoles(Operation):
    """Create roles, without a password and unable to sign in, so that what a backup holds can belong to them."""

    title = "Create roles"
    risk = Risk.LOADS
    for_admins = True
    Form = CreateRolesForm

    def target(self) -> str:
        return ", ".join(names(str(self.params["names"])))

    def plan(self) -> Sequence[Step]:
        wanted = names(str(self.params["names"]))
        known = {row.rolname for row in self.server.rows("select rolname from pg_catalog.pg_roles")}
        missing = [name for name in wanted if name not in known]
        if not missing:
            raise Refused(f"{self.server} has all of these roles.", field="names")
        me = self.server.row(
            "select rolname as role, rolsuper as is_superuser, rolsuper or rolcreaterole as may"
            " from pg_catalog.pg_roles where rolname = current_user"
        )
        if not me.may:
            role = sql.Identifier(me.role).as_string(None)
            raise Refused(f"{me.role} may not create roles. What mends it: ALTER ROLE {role} CREATEROLE;")
        return [self._step(name, "" if me.is_superuser else me.role) for name in missing]

    def _step(self, name: str, grantee: str) -> Step:
        """Who cannot become a role cannot give it anything: the grant comes with the role, and goes with it."""
        create, *grants = role_statements([name], grantee)
        drop = sql.SQL("DROP ROLE {}").format(sql.Identifier(name)).as_string(None)
        if not grants:
            return Sql(create, reverse=drop)
        return Transaction([Sql(create), *map(Sql, grants)], reverse=drop)
