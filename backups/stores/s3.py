"""A bucket of an S3 service as a store: equal parts, two uploads in flight, checksums sent and read back."""

from __future__ import annotations

import base64
import io
import threading
import zlib
from collections.abc import Collection, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

from backups.stores.base import Finding, Item, MissingObject, Opened, Store, StoreError, Unreadable, Upload
from backups.stores.bucket import Facts, read_facts
from backups.stores.protection import TRIAL_LOCK, protection

MIB = 1 << 20
IN_FLIGHT = 2
PIECE = 256 << 10
RECONNECTS = 4
#: One who waits, such as a run that was cancelled, asks once and not for long.
HASTE = {"attempts": 1, "connect_timeout": 3.0, "read_timeout": 4.0}
#: Seconds that parts on their way get to end by themselves.
PATIENCE = 2
_ABSENT = {"404", "NoSuchKey", "NotFound", "NoSuchUpload"}
_ADVICE = {
    "AccessDenied": "The keys lack a right on this bucket.",
    "400": "It gave no reason; expired credentials are the usual one.",
    "403": "The keys lack a right on this bucket, or are wrong.",
    "InvalidAccessKeyId": "The service does not know this access key.",
    "SignatureDoesNotMatch": "The secret key is wrong.",
    "ExpiredToken": "The credentials have expired. Enter new ones in the store's settings.",
    "NoSuchBucket": "There is no such bucket. Create it or correct the name.",
    "QuotaExceeded": "The bucket is full. Free space or choose another store.",
    "XMinioStorageFull": "The service's disk is full. Free space or choose another store.",
    "InsufficientStorage": "The service's disk is full. Free space or choose another store.",
}


@dataclass(frozen=True)
class S3Settings:
    """What is needed to reach a bucket; without keys the usual sources (role, environment) are asked."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = "us-east-1"
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    path_style: bool = True
    encryption: str = ""
    encryption_key: str = ""
    lock_days: int = 0
    part_bytes: int = 8 * MIB
    part_limit: int = 9_900
    ca_file: str = ""
    attempts: int = 5
    connect_timeout: float = 5
    read_timeout: float = 60


def _sentence(error: Exception, settings: S3Settings) -> str:
    where = f"{settings.endpoint or 's3'}/{settings.bucket}"
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        said = str(error.response.get("Error", {}).get("Message", "")) or code
        return f"The store {where} refused: {said.rstrip('.')}. {_ADVICE.get(code, '')}".strip()
    if isinstance(error, HTTPClientError | NoConnection):
        return f"The store {where} cannot be reached or does not answer. Check its address and the network."
    return f"The store {where} failed: {str(error).rstrip('.')}."


class S3Upload(Upload):
    """Parts are sent while the next is filled; a small object goes in one request."""

    def __init__(self, store: S3Store, key: str, opened: Opened | None, part_bytes: int) -> None:
        super().__init__(key)
        self._store = store
        self._part_bytes = part_bytes
        self._opened = opened
        self._id = ""
        self._part = _Part()
        self._parts: dict[int, dict[str, Any]] = {}
        self._given_up = False
        self._room = threading.BoundedSemaphore(IN_FLIGHT)
        self._flights: list[Future[None]] = []

    def write(self, data: bytes) -> None:
        self.size_bytes += len(data)
        left = memoryview(data)
        while left:
            left = left[self._part.write(left[: self._part_bytes - self._part.tell()]) :]
            if self._part.tell() == self._part_bytes:
                self._send()

    def _send(self) -> None:
        """What was filled; the next part begins."""
        self._raise_failed()
        if not self._id:
            self._begin()
        while not self._room.acquire(timeout=1):
            self._raise_failed()
        self._raise_failed()
        flight: Future[None] = Future()
        self._flights.append(flight)
        # A thread for each part, which the end of the process does not wait for: the store may never answer it.
        arguments = (flight, len(self._flights), self._part)
        self._part = _Part()
        threading.Thread(target=self._fly, args=arguments, name="s3-part", daemon=True).start()

    def _begin(self) -> None:
        if self._opened:
            self._opened(self.key, "")
        with self._store.speaking() as (client, where):
            answer = client.create_multipart_upload(
                **where, Key=self._store.full(self.key), ChecksumAlgorithm="CRC32", **self._store.extra()
            )
        self._id = answer["UploadId"]
        if self._opened:
            self._opened(self.key, self._id)

    def _fly(self, flight: Future[None], number: int, part: _Part) -> None:
        try:
            self._put_part(number, part)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that writes, which raises it
            flight.set_exception(error)
        else:
            flight.set_result(None)
        finally:
            self._room.release()

    def _put_part(self, number: int, part: _Part) -> None:
        # As a file the part is sent in pieces; as bytes the library would copy it behind the headers.
        part.seek(0)
        checksum = _crc32(part.getbuffer())
        with self._store.speaking() as (client, where):
            answer = client.upload_part(
                **where, Key=self._store.full(self.key), UploadId=self._id, PartNumber=number,
                Body=part, ChecksumCRC32=checksum,
            )  # fmt: skip
        if answer.get("ChecksumCRC32", checksum) != checksum:
            raise StoreError(f"The store received other bytes of {self.key} than were sent (part {number}).")
        self._parts[number] = {"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC32": checksum}

    def _raise_failed(self) -> None:
        if self._given_up:
            raise StoreError(f"The upload of {self.key} was broken off.")
        for flight in self._flights[-2 * IN_FLIGHT :]:
            if flight.done():
                flight.result()

    def complete(self) -> Item:
        if not self._id:
            self._put_whole()
        else:
            if self._part.tell():
                self._send()
            for flight in self._flights:
                flight.result()
            parts = [self._parts[number] for number in sorted(self._parts)]
            with self._store.speaking() as (client, where):
                client.complete_multipart_upload(
                    **where,
                    Key=self._store.full(self.key),
                    UploadId=self._id,
                    MultipartUpload={"Parts": parts},
                )
            self._id = ""
        return self.checked(self._store.head(self.key))

    def _put_whole(self) -> None:
        data = self._part.getvalue()
        with self._store.speaking() as (client, where):
            client.put_object(
                **where,
                Key=self._store.full(self.key),
                Body=data,
                ChecksumAlgorithm="CRC32",
                ChecksumCRC32=_crc32(data),
                **self._store.extra(),
            )

    def give_up(self) -> None:
        self._given_up = True

    def abort(self) -> None:
        self.give_up()
        self._part = _Part()
        # A part that hangs is not waited for; the clean-up of the run aborts the upload again.
        wait(self._flights, timeout=PATIENCE)
        if self._id:
            with self._store.in_haste().speaking() as (client, where):
                client.abort_multipart_upload(**where, Key=self._store.full(self.key), UploadId=self._id)
            self._id = ""


class _Part(io.BytesIO):
    """Filled, then sent as it is. Gives more than is asked for: the library would send it in pieces of 16 KiB."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(size if size is None or size < 0 else max(size, PIECE))


def _crc32(data: bytes | memoryview) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


class S3Store(Store):
    """Objects below one prefix of one bucket."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self.largest_object_bytes = settings.part_bytes * settings.part_limit
        self.lock_for = timedelta(days=settings.lock_days)
        self._client: Any = None
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return f"{self.settings.endpoint or 's3:/'}/{self.settings.bucket}/{self.settings.prefix}".rstrip("/")

    @property
    def client(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        settings = self.settings
        config = Config(
            signature_version="s3v4",
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if settings.path_style else "virtual"},
            retries={"mode": "standard", "max_attempts": settings.attempts},
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            max_pool_connections=IN_FLIGHT + 2,
        )
        return boto3.session.Session().client(
            "s3",
            region_name=settings.region or None,
            endpoint_url=settings.endpoint or None,
            aws_access_key_id=settings.access_key or None,
            aws_secret_access_key=settings.secret_key or None,
            verify=settings.ca_file or None,
            config=config,
        )

    @contextmanager
    def speaking(self) -> Iterator[tuple[Any, dict[str, str]]]:
        """The client and the bucket; what goes wrong inside becomes a sentence."""
        try:
            yield self.client, {"Bucket": self.settings.bucket}
        except (BotoCoreError, ClientError, ValueError) as error:
            code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
            kind = MissingObject if code in _ABSENT else StoreError
            raise kind(_sentence(error, self.settings)) from error

    def full(self, key: str) -> str:
        prefix = self.settings.prefix.strip("/")
        return f"{prefix}/{key}" if prefix else key

    def short(self, full: str) -> str:
        prefix = self.settings.prefix.strip("/")
        return full[len(prefix) + 1 :] if prefix else full

    def in_haste(self) -> S3Store:
        return S3Store(replace(self.settings, **HASTE))  # type: ignore[arg-type]

    def facts(self) -> Facts:
        return read_facts(self.client, self.settings.bucket, self.settings.prefix)

    def extra(self) -> dict[str, Any]:
        """Server-side encryption and object lock, as the settings ask."""
        wanted: dict[str, Any] = {}
        if self.settings.encryption:
            wanted["ServerSideEncryption"] = self.settings.encryption
        if self.settings.encryption_key:
            wanted["SSEKMSKeyId"] = self.settings.encryption_key
        if self.settings.lock_days:
            wanted["ObjectLockMode"] = "COMPLIANCE"
            wanted["ObjectLockRetainUntilDate"] = datetime.now(UTC) + self.lock_for
        return wanted

    def upload(self, key: str, opened: Opened | None = None, size_bytes: int = 0) -> S3Upload:
        return S3Upload(self, key, opened, self.part_bytes(size_bytes))

    def part_bytes(self, size_bytes: int) -> int:
        """As large as is set; larger, in whole mebibytes, where an object of this size would need too many parts."""
        least = -(-size_bytes // self.settings.part_limit)
        return max(self.settings.part_bytes, -(-least // MIB) * MIB)

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        item = self.head(key)
        if item is None:
            raise MissingObject(f"{key} is not in the store {self}.")
        end = item.size_bytes if length is None else start + length
        failures = 0
        while start < end:
            before = start
            try:
                for block in self._range(key, start, end):
                    start += len(block)
                    yield block
            except StoreError:
                failures = 0 if start > before else failures + 1
                if failures >= RECONNECTS or self._is_gone(key):
                    raise
            else:
                failures = 0 if start > before else failures + 1
                if failures >= RECONNECTS:
                    raise Unreadable(f"{key} ended {end - start} bytes too early.")

    def _is_gone(self, key: str) -> bool:
        """Deleted meanwhile? Where that cannot be asked either, the first error says why: a HEAD has no words."""
        try:
            return self.head(key) is None
        except StoreError:
            return True

    def _range(self, key: str, start: int, end: int) -> Iterator[bytes]:
        with self.speaking() as (client, where):
            answer = client.get_object(**where, Key=self.full(key), Range=f"bytes={start}-{end - 1}")
            body = answer["Body"]
            try:
                while block := body.read(MIB):
                    yield block
            except (OSError, BotoCoreError) as error:
                raise StoreError(_sentence(error, self.settings)) from error
            finally:
                body.close()

    def head(self, key: str) -> Item | None:
        try:
            with self.speaking() as (client, where):
                answer = self._whole(client.head_object(**where, Key=self.full(key)), "ContentLength")
        except MissingObject:
            return None
        return Item(key, answer["ContentLength"], answer["LastModified"])

    def _whole(self, answer: dict[str, Any], always: str) -> dict[str, Any]:
        """An answer with what each has: one that was cut off in its head passes for an empty one otherwise."""
        if always not in answer:
            raise ConnectionClosedError(endpoint_url=self.settings.endpoint)
        return answer

    def items(self, prefix: str = "") -> Iterator[Item]:
        with self.speaking() as (client, where):
            pages = client.get_paginator("list_objects_v2").paginate(**where, Prefix=self.full(prefix))
            for page in pages:
                for found in self._whole(page, "IsTruncated").get("Contents", []):
                    yield Item(self.short(found["Key"]), found["Size"], found["LastModified"])

    def delete(self, key: str) -> None:
        with self.speaking() as (client, where):
            client.delete_object(**where, Key=self.full(key))

    def abort_stale(self, prefix: str, older_than: timedelta, spare: Collection[str] = ()) -> list[str]:
        limit = datetime.now(UTC) - older_than
        removed = []
        for upload in self._open_uploads(prefix):
            key = self.short(upload["Key"])
            if upload["Initiated"] <= limit and not key.startswith(tuple(spare)):
                with self.speaking() as (client, where):
                    client.abort_multipart_upload(**where, Key=upload["Key"], UploadId=upload["UploadId"])
                removed.append(key)
        return removed

    def _open_uploads(self, prefix: str) -> list[dict[str, Any]]:
        try:
            with self.speaking() as (client, where):
                pages = client.get_paginator("list_multipart_uploads").paginate(
                    **where, Prefix=self.full(prefix)
                )
                return [upload for page in pages for upload in page.get("Uploads", [])]
        except MissingObject:
            # Some services answer "no such upload" where others answer with an empty list.
            return []

    def test(self) -> list[Finding]:
        """As for every store; then whether encryption and lock, where they are asked for, are really there."""
        trial = S3Store(self.settings)
        trial.lock_for = TRIAL_LOCK
        found = super(S3Store, trial).test()
        if all(finding.ok for finding in found) and (self.settings.lock_days or self.settings.encryption):
            found += protection(trial)
        return found
