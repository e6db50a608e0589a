"""What the control database keeps of the audit log: seals, their keys, what checks found, saved searches."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.db import models

from dbadmin import secrets
from dbadmin.models import Server
from dbadmin.units import several


class SealKey(models.Model):
    """A key that signs seals. Its private half is sealed like any secret and never reaches the servers."""

    key_id = models.CharField(max_length=20, unique=True)
    public = models.TextField()
    sealed_private = models.TextField(editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    retired_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("created_at",)

    def __str__(self) -> str:
        return self.key_id

    def private(self) -> bytes:
        """The private half in clear."""
        return bytes.fromhex(secrets.unseal(self.sealed_private, f"sealkey.private:{self.key_id}"))

    def is_ours(self) -> bool:
        """Is it one that dbadmin made? Who writes to this database can add a key of their own, but cannot seal its
        private half."""
        try:
            private = Ed25519PrivateKey.from_private_bytes(self.private())
        except (secrets.CannotOpen, ValueError):
            return False
        return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex() == self.public


class Seal(models.Model):
    """One sealed batch of the log. header is the signed text; leaves let a check name the altered row."""

    server = models.ForeignKey(Server, on_delete=models.SET_NULL, null=True, related_name="seals")
    server_name = models.CharField(max_length=63)
    database = models.CharField(max_length=63)
    number = models.PositiveIntegerField()
    header = models.TextField()
    header_hash = models.CharField(max_length=64)
    signature = models.CharField(max_length=128)
    key = models.ForeignKey(SealKey, on_delete=models.PROTECT)
    leaves = models.BinaryField()
    statements = models.PositiveIntegerField()
    images = models.BigIntegerField()
    low = models.BigIntegerField()
    high = models.BigIntegerField()
    above = models.BigIntegerField(default=0)
    last_id = models.BigIntegerField()
    system_identifier = models.CharField(max_length=20)
    timeline = models.PositiveIntegerField()
    first_at = models.DateTimeField(null=True)
    last_at = models.DateTimeField(null=True)
    store = models.CharField(max_length=63, blank=True)
    sealed_at = models.DateTimeField(auto_now_add=True)
    stamp = models.BinaryField(null=True, help_text="The answer of a time stamp authority, as it came.")
    stamped_at = models.DateTimeField(null=True)
    stamp_store = models.CharField(max_length=63, blank=True)

    class Meta:
        ordering = ("-number",)
        constraints = [
            models.UniqueConstraint(fields=["server", "database", "number"], name="one_seal_per_number")
        ]

    def __str__(self) -> str:
        return f"seal {self.number} of {self.server_name}/{self.database}"


DIFFERS = "The audit log differs from its seals"
#: The same where nothing but findings of this kind was found.
BESIDE = {
    "hidden": "Searches of the audit log do not find all that is in it",
    "capture": "What records changes is not as it was installed",
}


class SealCheck(models.Model):
    """What a verification of seals found."""

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="seal_checks")
    database = models.CharField(max_length=63)
    at = models.DateTimeField(auto_now_add=True)
    seals = models.PositiveIntegerField()
    statements = models.BigIntegerField()
    images = models.BigIntegerField()
    seconds = models.FloatField()
    findings = models.JSONField(default=list)

    class Meta:
        ordering = ("-at",)

    def __str__(self) -> str:
        return f"check of {self.server}/{self.database}, {len(self.findings)} findings"

    @classmethod
    def standing(cls, server: Server, database: str) -> SealCheck | None:
        """The newest one. With it stands what an older one found, until a check of as many seals does not."""
        found = list(cls.objects.filter(server=server, database=database)[:50])
        newest = next(iter(found), None)
        wider = next((one for one in found if one.findings and newest and one.seals > newest.seals), None)
        if newest is None or wider is None:
            return newest
        wider.findings += [one for one in newest.findings if one not in wider.findings]
        return wider

    @property
    def says(self) -> str:
        """What was found, in half a sentence."""
        kinds = {one["kind"] for one in self.findings}
        what = BESIDE.get(next(iter(kinds)), DIFFERS) if len(kinds) == 1 else DIFFERS
        return f"{what} in {several(len(self.findings), 'place')}"

    def of_statement(self, number: int) -> list[str]:
        """What was found of a statement and its rows."""
        return [one["what"] for one in self.findings if one["statement"] == number]


class CountedTable(models.Model):
    """PostgreSQL's counters of a watched table and of its log, and what they said when they were last compared."""

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="counted_tables")
    database = models.CharField(max_length=63)
    watched_id = models.IntegerField()
    counters = models.JSONField(default=dict)
    suspected_at = models.DateTimeField(null=True)
    compared_at = models.DateTimeField(null=True)
    state = models.CharField(max_length=10, blank=True)
    rows = models.BigIntegerField(default=0)
    why = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["server", "database", "watched_id"], name="one_count_per_table")
        ]

    def __str__(self) -> str:
        return f"{self.server}/{self.database} table {self.watched_id}: {self.state}"


class SeenDefinition(models.Model):
    """How a watched table was defined when it was last looked at; nothing when it was gone."""

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="seen_definitions")
    database = models.CharField(max_length=63)
    watched_id = models.IntegerField()
    definition = models.JSONField(default=dict)
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["server", "database", "watched_id"], name="one_definition_per_table"
            )
        ]

    def __str__(self) -> str:
        return f"{self.server}/{self.database} table {self.watched_id} at {self.seen_at}"


class SavedSearch(models.Model):
    """A search of the log under a name; the address is all there is to it."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="audit_searches"
    )
    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="audit_searches")
    name = models.CharField(max_length=80)
    query = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name",)
        constraints = [models.UniqueConstraint(fields=["user", "server", "name"], name="one_search_per_name")]

    def __str__(self) -> str:
        return self.name


class Expiry(models.Model):
    """Months that were dropped by policy: a signed record, to tell what is gone on purpose from what was taken."""

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="audit_expiries")
    database = models.CharField(max_length=63)
    through_id = models.BigIntegerField()
    text = models.TextField()
    signature = models.CharField(max_length=128)
    key = models.ForeignKey(SealKey, on_delete=models.PROTECT)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-through_id",)

    def __str__(self) -> str:
        return f"{self.server}/{self.database} through statement {self.through_id}"
