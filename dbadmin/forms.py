"""Fields and forms of the ground floor."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psycopg
from django import forms
from django.conf import settings
from django.contrib.auth import get_user_model, password_validation
from django.core.exceptions import BadRequest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dbadmin.connections import without_secrets
from dbadmin.models import ApiToken, Grant, Server

if TYPE_CHECKING:  # Django's forms take no type argument at run time
    from django.http import HttpRequest

    ServerModelForm = forms.ModelForm[Server]
    GrantModelForm = forms.ModelForm[Grant]
else:
    ServerModelForm = GrantModelForm = forms.ModelForm

DSN_HELP = "postgresql://role@host:5432/database?sslmode=verify-full, or host=… port=… dbname=… user=…"


def wanted(request: HttpRequest) -> bool:
    """What a switch was pressed for: pressed twice, or on an old page, it asks for the same again."""
    to = request.POST.get("to")
    if to not in {"on", "off"}:
        raise BadRequest("A switch says what it is to be switched to: on or off.")
    return to == "on"


class DsnField(forms.CharField):
    """A DSN. A password inside is accepted, taken out, and never shown again."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("help_text", DSN_HELP)
        kwargs.setdefault("widget", forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}))
        super().__init__(**kwargs)

    def clean(self, value: Any) -> str:
        """Check that it parses and has a host."""
        text: str = super().clean(value)
        if not text:
            return ""
        try:
            parts = conninfo_to_dict(text)
        except psycopg.ProgrammingError as error:
            reason = without_secrets(str(error).strip(), "")
            raise forms.ValidationError(f"This is not a DSN. {strip_password(reason)}") from None
        if not parts.get("host"):
            raise forms.ValidationError("The DSN names no host.")
        return text


def strip_password(text: str) -> str:
    """A DSN text, parsed or not, without what follows the user's colon."""
    return re.sub(r"(//[^:/@\s]+):[^@/\s]+@", r"\1@", re.sub(r"(password=)('[^']*'|\S+)", r"\1***", text))


def joined(dsn: str, password: str) -> str:
    """The DSN with the password of the password field, where that was filled."""
    return make_conninfo(dsn, password=password) if password else dsn


class PasswordField(forms.CharField):
    """A password that the page never sends back."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("required", False)
        kwargs["widget"] = forms.PasswordInput(attrs={"autocomplete": "new-password"}, render_value=False)
        super().__init__(strip=False, **kwargs)


class ServerForm(ServerModelForm):
    """Add or change a server. Empty secrets keep what is stored."""

    dsn = DsnField(label="Monitoring DSN", required=False)
    password = PasswordField(label="Its password")
    operate_dsn = DsnField(
        label="Operations DSN",
        required=False,
        help_text="A role that may act (backups, indexes, views). Empty: the monitoring role acts, as far as it may.",
    )
    operate_password = PasswordField(label="Its password")
    pgbouncer_dsn = DsnField(
        label="PgBouncer DSN",
        required=False,
        help_text="The console, database pgbouncer; a role in stats_users.",
    )
    pgbouncer_password = PasswordField(label="Its password")
    redis_url = forms.CharField(
        label="Redis URL", required=False, help_text="A cache whose hit rate is shown: redis://host:6379/0"
    )
    tags = forms.CharField(required=False, help_text="Separated by commas.")

    class Meta:
        model = Server
        fields = ("name", "environment", "tags", "primary", "queue", "two_people")
        error_messages = {"name": {"unique": "There is a server of this name already."}}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["primary"].queryset = Server.objects.filter(primary=None).exclude(pk=self.instance.pk)  # type: ignore[attr-defined]
        self.fields["primary"].help_text = "For a replica: the server that it follows."
        self.fields["dsn"].required = self.instance.pk is None
        self.initial["tags"] = ", ".join(self.instance.tags)
        if self.instance.pk:
            for purpose in ("monitor", "operate", "pgbouncer"):
                sealed = getattr(self.instance, f"sealed_{purpose}_dsn")
                name = "dsn" if purpose == "monitor" else f"{purpose}_dsn"
                self.initial[name] = ""
                if sealed:
                    self.fields[
                        name
                    ].help_text = f"Stored: {self.instance.safe_dsn(purpose)}. Empty keeps it."
        if self.is_bound:
            self.data = self.data.copy()  # type: ignore[attr-defined]
            for name in ("dsn", "operate_dsn", "pgbouncer_dsn"):
                self.secrets_of(name)

    def secrets_of(self, name: str) -> None:
        """A password inside a DSN moves to its password field, so that the page never shows it."""
        text = self.data.get(name, "")
        try:
            parts = conninfo_to_dict(text)
        except psycopg.ProgrammingError:
            self.data[name] = strip_password(text)  # type: ignore[index]
            return
        password = parts.pop("password", None)
        if password:
            self.data[name] = make_conninfo(**parts)  # type: ignore[index,arg-type]
            self.data[name.replace("dsn", "password")] = str(password)  # type: ignore[index]

    def clean_environment(self) -> str:
        """Out of an environment that asks for two people nobody takes a server alone."""
        wanted: str = self.cleaned_data["environment"]
        guarded, was = settings.DBADMIN_TWO_PEOPLE, self.initial.get("environment", "")
        if self.instance.pk and was in guarded and wanted not in guarded:
            raise forms.ValidationError(
                f"Servers of {was} ask for two people, so one alone cannot move it. "
                "Who owns the machine can: manage.py add_server … --environment."
            )
        return wanted

    def clean_two_people(self) -> bool:
        """What two people guard, one alone does not take away."""
        wanted: bool = self.cleaned_data["two_people"]
        if self.initial.get("two_people") and not wanted:
            raise forms.ValidationError(
                "One person alone cannot switch this off. "
                f"Who owns the machine can: manage.py two_people {self.instance.name} off"
            )
        return wanted

    def clean_tags(self) -> list[str]:
        """A list."""
        return [tag.strip() for tag in self.cleaned_data["tags"].split(",") if tag.strip()]

    def given(self, name: str) -> str:
        """A DSN of this form with its password, or ""."""
        dsn = self.cleaned_data.get(name, "")
        return joined(dsn, self.cleaned_data.get(name.replace("dsn", "password"), "")) if dsn else ""

    def save(self, commit: bool = True) -> Server:
        """Keep the server; DSNs only sealed."""
        server = super().save(commit=False)
        for name, purpose in (
            ("dsn", "monitor_dsn"),
            ("operate_dsn", "operate_dsn"),
            ("pgbouncer_dsn", "pgbouncer_dsn"),
        ):
            if self.given(name):
                server.seal_dsn(purpose, self.given(name))  # type: ignore[arg-type]
        if self.cleaned_data["redis_url"]:
            server.seal_dsn("redis_url", self.cleaned_data["redis_url"])
        server.save()
        return server


class PersonForm(forms.Form):
    """A new account with one role everywhere."""

    username = forms.SlugField(max_length=150, label="Name")
    email = forms.EmailField(required=False)
    role = forms.ChoiceField(choices=[("", "—"), *Grant._meta.get_field("role").choices], required=False)  # type: ignore[misc]
    password = PasswordField(required=True, label="First password")

    def clean_username(self) -> str:
        """Not taken."""
        name: str = self.cleaned_data["username"]
        if get_user_model().objects.filter(username=name).exists():
            raise forms.ValidationError(f"There is an account {name} already.")
        return name

    def clean_password(self) -> str:
        """Strong enough."""
        password: str = self.cleaned_data["password"]
        password_validation.validate_password(password)
        return password


class GrantForm(GrantModelForm):
    """A role, everywhere or on one server, environment or tag."""

    class Meta:
        model = Grant
        fields = ("role", "server", "environment", "tag")

    def clean(self) -> dict[str, Any]:
        """At most one of the three narrows it."""
        data = super().clean() or self.cleaned_data
        if sum(bool(data.get(name)) for name in ("server", "environment", "tag")) > 1:
            raise forms.ValidationError("Choose a server, an environment or a tag, not several.")
        return data


class TokenForm(forms.Form):
    """A new API token."""

    name = forms.CharField(max_length=60)
    scope = forms.ChoiceField(choices=ApiToken.Scope.choices)
    days = forms.IntegerField(min_value=1, max_value=3650, initial=90, label="Valid for days")
