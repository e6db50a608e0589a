"""A store holds whole objects or nothing."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from backups.pipeline import VolumeWriter
from backups.stores import Store, StoreError, Upload
from backups.stores.base import MissingObject
from backups.stores.local import PARTIAL, LocalStore
from backups.stores.s3 import MIB, S3Settings, S3Store
from tests.backups.conftest import words_of_full
from tests.backups.cutting import Wire, wire


@pytest.fixture
def settings(s3: dict[str, str]) -> S3Settings:
    """The bucket of the real-signature server, with small parts and little patience."""
    return S3Settings(
        s3["bucket"], "place/for tests", s3["endpoint"], "us-east-1", s3["key"], s3["secret"],
        part_bytes=5 * MIB, attempts=2, read_timeout=5,
    )  # fmt: skip


@pytest.fixture(params=["local", "rclone", "moto"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each kind of store, empty."""
    if request.param == "local":
        yield LocalStore(tmp_path)
        return
    made = S3Store(request.getfixturevalue("moto" if request.param == "moto" else "settings"))
    yield made
    for item in list(made.items()):
        made.delete(item.key)


def fill(upload: Upload, mebibytes: int) -> None:
    """Write so much, and publish it."""
    for _ in range(mebibytes):
        upload.write(b"x" * MIB)
    upload.complete()


def test_its_own_test_finds_nothing_wrong(store: Store) -> None:
    assert [finding for finding in store.test() if not finding.ok] == []
    assert list(store.items()) == []


def test_gives_back_what_it_was_given(store: Store) -> None:
    content = os.urandom(11 * MIB + 17)
    upload = store.upload("a/b c/ü.bin")
    for start in range(0, len(content), 700_000):
        upload.write(content[start : start + 700_000])
    assert store.head("a/b c/ü.bin") is None
    assert upload.complete().size_bytes == len(content)
    assert store.get("a/b c/ü.bin") == content
    assert b"".join(store.read("a/b c/ü.bin", 5 * MIB, 1000)) == content[5 * MIB : 5 * MIB + 1000]
    assert [item.key for item in store.items("a/")] == ["a/b c/ü.bin"]


def test_an_aborted_upload_leaves_nothing(store: Store) -> None:
    upload = store.upload("a/half")
    upload.write(b"x" * 11 * MIB)
    upload.abort()
    upload.abort()
    assert list(store.items()) == []
    assert store.abort_stale("", timedelta(0)) == []


def test_an_object_that_is_not_there_is_said_to_be_missing(store: Store) -> None:
    store.put("there", b"x")
    with pytest.raises(MissingObject, match=r"^gone is not in the store "):
        store.get("gone")
    store.delete("gone")


def test_unfinished_uploads_are_found_and_removed(settings: S3Settings) -> None:
    store = S3Store(settings)
    left = store.upload("lost/object")
    left.write(b"x" * 6 * MIB)
    assert store.abort_stale("", timedelta(hours=1)) == []
    assert store.abort_stale("", timedelta(0), spare=["lost/"]) == []
    assert store.abort_stale("lost/", timedelta(0)) == ["lost/object"]
    assert store.abort_stale("lost/", timedelta(0)) == []


def test_a_killed_writer_leaves_no_file(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from backups.stores.local import LocalStore\n"
        "upload = LocalStore(sys.argv[1]).upload('a/b'); upload.write(b'x' * 5_000_000)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_partial_file_of_a_file_system_without_unnamed_files_is_removed(tmp_path: Path) -> None:
    partial = tmp_path / "a" / f"{PARTIAL}123-b"
    partial.parent.mkdir()
    partial.write_bytes(b"x")
    store = LocalStore(tmp_path)
    assert list(store.items()) == []
    assert store.abort_stale("a/", timedelta(0)) == [f"a/{PARTIAL}123-b"]
    assert not partial.exists()


def test_a_full_disk_is_named_and_nothing_stays(tiny_disk: Path) -> None:
    upload = LocalStore(tiny_disk).upload("a/b")
    with pytest.raises(StoreError, match="|".join(map(re.escape, words_of_full(tiny_disk)))):
        fill(upload, 10)
    upload.abort()
    assert list(tiny_disk.rglob("*")) == []


def test_a_store_behind_a_link_is_that_directory_and_a_link_inside_is_no_way_to_another(
    tmp_path: Path,
) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    store = LocalStore(tmp_path / "link")
    store.put("shop/a", b"text")
    assert (real / "shop/a").read_bytes() == b"text"
    assert [item.key for item in store.items()] == ["shop/a"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "strange").write_bytes(b"of somebody else")
    (real / "way").symlink_to(other)
    assert [item.key for item in store.items()] == ["shop/a"]
    assert store.abort_stale("", timedelta(0)) == []
    (tmp_path / "link").unlink()
    with pytest.raises(StoreError) as gone:
        list(store.items())
    assert (
        str(gone.value)
        == f"The store's directory {tmp_path / 'link'} is not there. Create it, or mount its disk."
    )


def test_a_disk_that_is_mounted_read_only_is_named(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs to mount a disk, which only root may")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)], check=True)
    store = LocalStore(tmp_path)
    try:
        store.put("shop/a", b"text")
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        says = f"The store {tmp_path} is on a disk that is mounted read-only."
        for attempt in (lambda: store.put("shop/b", b"text"), lambda: store.delete("shop/a")):
            with pytest.raises(StoreError) as refused:
                attempt()
            assert str(refused.value) == says
        assert store.get("shop/a") == b"text"
        assert [item.key for item in store.items()] == ["shop/a"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_directory_that_is_gone_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "unmounted"
    says = f"The store's directory {gone} is not there. Create it, or mount its disk."
    with pytest.raises(StoreError) as caught:
        LocalStore(gone).upload("a/b")
    assert str(caught.value) == says
    assert not gone.exists()


@pytest.mark.parametrize("key", ["../out", "/etc/passwd", "a//b", "", "a/../../b"])
def test_no_key_leads_out_of_the_directory(tmp_path: Path, key: str) -> None:
    with pytest.raises(StoreError, match="is not a name that a store takes"):
        LocalStore(tmp_path).upload(key)


@pytest.fixture
def lying(settings: S3Settings) -> Iterator[tuple[S3Store, Wire]]:
    """The same bucket behind a wire that can be cut."""
    there = urlsplit(settings.endpoint)
    with wire(str(there.hostname), int(there.port or 0)) as made:
        store = S3Store(replace(settings, endpoint=f"http://127.0.0.1:{made.port}"))
        yield store, made
        made.cut_after = made.flip_at = made.truncate_after = 0
        made.refuse = ""
        for item in list(store.items()):
            store.delete(item.key)


def test_a_cut_connection_ends_in_a_sentence_and_no_object(lying: tuple[S3Store, Wire]) -> None:
    store, made = lying
    made.cut_after = 2 * MIB
    upload = store.upload("a/cut")
    with pytest.raises(
        StoreError, match=r"cannot be reached or does not answer\. Check its address and the network"
    ):
        fill(upload, 16)
    made.cut_after = 0
    upload.abort()
    assert list(store.items()) == []
    assert store.abort_stale("", timedelta(0)) == []


def test_an_error_of_the_service_ends_in_a_sentence_and_no_object(lying: tuple[S3Store, Wire]) -> None:
    store, made = lying
    made.refuse = "PUT .*partNumber=2"
    upload = store.upload("a/broken")
    with pytest.raises(StoreError, match=r"^The store .* refused: "):
        fill(upload, 16)
    upload.abort()
    assert list(store.items()) == []


def test_a_download_that_breaks_off_goes_on_where_it_stopped(lying: tuple[S3Store, Wire]) -> None:
    store, made = lying
    content = os.urandom(3 * MIB)
    store.put("a/long", content)
    made.truncate_after = MIB
    assert store.get("a/long") == content
    assert sum(line.startswith("GET") for line in made.seen) > 2


def test_a_service_that_is_not_there_is_named(settings: S3Settings) -> None:
    nobody = S3Store(replace(settings, endpoint="http://127.0.0.1:9", attempts=1))
    with pytest.raises(
        StoreError, match=r"^The store http://127.0.0.1:9/.* cannot be reached or does not answer"
    ):
        nobody.head("a")


def test_a_wrong_secret_is_named(settings: S3Settings) -> None:
    with pytest.raises(StoreError, match=r"The secret key is wrong|are wrong"):
        S3Store(replace(settings, secret_key="wrong")).put("a", b"x")


def test_objects_are_locked_as_long_as_the_store_says(moto: S3Settings) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=moto.endpoint, region_name="us-east-1", aws_access_key_id="x",
                          aws_secret_access_key="x")  # fmt: skip
    client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    store = S3Store(replace(moto, bucket="locked", lock_days=3, encryption="AES256"))
    store.put("a", b"x")
    head = client.head_object(Bucket="locked", Key="deep/a")
    assert head["ObjectLockMode"] == "COMPLIANCE"
    assert head["ServerSideEncryption"] == "AES256"


@pytest.mark.parametrize("make", ["settings", "moto"])
def test_a_stream_that_needs_more_parts_than_the_store_takes_goes_on_in_further_objects(
    request: pytest.FixtureRequest, make: str
) -> None:
    made: S3Settings = request.getfixturevalue(make)
    store = S3Store(replace(made, part_bytes=5 * MIB, part_limit=2))
    content = b"".join(hashlib.sha512(str(number).encode()).digest() for number in range(360_000))
    out = VolumeWriter(store, "long/object")
    for start in range(0, len(content), 3 * MIB):
        out.write(content[start : start + 3 * MIB])
    volumes = out.complete()
    assert [(each.key, each.size_bytes) for each in volumes] == [
        ("long/object", 10 * MIB),
        ("long/object.002", 10 * MIB),
        ("long/object.003", len(content) - 20 * MIB),
    ]
    assert b"".join(store.get(each.key) for each in volumes) == content
    assert [each.sha256 for each in volumes] == [
        hashlib.sha256(content[start : start + 10 * MIB]).hexdigest() for start in (0, 10 * MIB, 20 * MIB)
    ]
    for each in volumes:
        store.delete(each.key)


@pytest.mark.parametrize("gibibytes", [1, 78, 500, 5000])
def test_parts_are_as_large_as_the_number_of_them_asks_for(gibibytes: int) -> None:
    for limit in (1_000, 10_000):
        size = S3Store(S3Settings("bucket", part_limit=limit)).part_bytes(gibibytes << 30)
        assert size % MIB == 0
        assert -(-(gibibytes << 30) // size) <= limit
