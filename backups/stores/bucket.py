"""What a bucket says of itself: lifecycle rules, lock, encryption, versions; unknown where it does not tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

#: Answers that mean "there is none", and those that mean "I do not do such a thing".
NONE = {
    "NoSuchLifecycleConfiguration", "ObjectLockConfigurationNotFoundError",
    "ServerSideEncryptionConfigurationNotFoundError", "NoSuchBucketPolicy",
}  # fmt: skip
FOREIGN = {"NotImplemented", "MethodNotAllowed", "501", "405", "InvalidRequest", "MalformedXML", "NoSuchKey"}
AWAY = "it cannot be reached or does not answer; check its address and the network"
#: Classes whose objects must be thawed for hours before they can be read.
COLD = {"GLACIER", "DEEP_ARCHIVE"}


@dataclass(frozen=True)
class Rule:
    """A lifecycle rule that concerns our objects."""

    name: str
    days: int | None = None
    date: datetime | None = None
    cold_days: int | None = None
    noncurrent_days: int | None = None
    aborts_days: int | None = None


@dataclass(frozen=True)
class Facts:
    """All of it. None is unknown; `why` says for what reason, by the name of the fact."""

    rules: Sequence[Rule] | None = None
    locks: bool | None = None
    lock_days: int | None = None
    lock_mode: str = ""
    encryption: str | None = None
    versions: bool | None = None
    why: Mapping[str, str] = field(default_factory=dict)


def read_facts(client: Any, bucket: str, prefix: str) -> Facts:
    """Four questions; one that is refused leaves the others their answers."""
    why: dict[str, str] = {}

    def ask(fact: str, method: str, holds: str = "") -> dict[str, Any] | None:
        if AWAY in why.values():  # each further question would be waited for as long
            why[fact] = AWAY
            return None
        return _answer(lambda: getattr(client, method)(Bucket=bucket), fact, holds, why)

    lifecycle = ask("rules", "get_bucket_lifecycle_configuration", "Rules")
    lock = ask("locks", "get_object_lock_configuration", "ObjectLockConfiguration")
    encryption = ask("encryption", "get_bucket_encryption", "ServerSideEncryptionConfiguration")
    versions = ask("versions", "get_bucket_versioning")
    held = (lock or {}).get("ObjectLockConfiguration", {})
    default = held.get("Rule", {}).get("DefaultRetention", {})
    return Facts(
        rules=None if lifecycle is None else concerning(lifecycle.get("Rules", []), prefix),
        locks=None if lock is None else held.get("ObjectLockEnabled") == "Enabled",
        lock_days=_days_of(default),
        lock_mode=str(default.get("Mode", "")),
        encryption=None if encryption is None else _algorithm(encryption),
        versions=None if versions is None else versions.get("Status") == "Enabled",
        why=why,
    )


def _answer(
    question: Callable[[], dict[str, Any]], fact: str, holds: str, why: dict[str, str]
) -> dict[str, Any] | None:
    """What was asked for, {} for none. A service that answers something else does not know the question."""
    try:
        found = question()
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in NONE:
            return {}
        why[fact] = "the service does not tell" if code in FOREIGN else f"the keys may not ask ({code})"
    except (HTTPClientError, NoConnection):
        why[fact] = AWAY
    except BotoCoreError as error:
        why[fact] = str(error).rstrip(".")
    else:
        if not holds or found.get(holds):
            return found
        why[fact] = "the service does not tell"
    return None


def _days_of(retention: Mapping[str, Any]) -> int | None:
    if retention.get("Days"):
        return int(retention["Days"])
    return int(retention["Years"]) * 365 if retention.get("Years") else None


def _algorithm(answer: Mapping[str, Any]) -> str:
    rules = answer.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    found = [rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm", "") for rule in rules]
    return str(next(filter(None, found), ""))


def concerning(rules: Sequence[Mapping[str, Any]], prefix: str) -> list[Rule]:
    """The rules in force that meet objects below our prefix. Ours have no tags, so a rule for a tag never does."""
    return [_rule(rule) for rule in rules if rule.get("Status") == "Enabled" and _meets(rule, prefix)]


def _meets(rule: Mapping[str, Any], prefix: str) -> bool:
    wanted = rule.get("Filter") or {}
    both = wanted.get("And") or {}
    if wanted.get("Tag") or both.get("Tags"):
        return False
    theirs = str(both.get("Prefix") or wanted.get("Prefix") or rule.get("Prefix") or "")
    ours = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    return ours.startswith(theirs) or theirs.startswith(ours)


def _rule(rule: Mapping[str, Any]) -> Rule:
    expiry = rule.get("Expiration") or {}
    cold = [
        int(each["Days"])
        for each in rule.get("Transitions") or []
        if each.get("StorageClass") in COLD and "Days" in each
    ]
    return Rule(
        name=str(rule.get("ID") or "without a name"),
        days=int(expiry["Days"]) if expiry.get("Days") else None,
        date=expiry.get("Date"),
        cold_days=min(cold) if cold else None,
        noncurrent_days=(rule.get("NoncurrentVersionExpiration") or {}).get("NoncurrentDays"),
        aborts_days=(rule.get("AbortIncompleteMultipartUpload") or {}).get("DaysAfterInitiation"),
    )
