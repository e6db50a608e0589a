"""./dev finds what the machine has, and takes no more packages than it needs."""

import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from devtools import packages, ports, servers
from devtools.account import account_of
from devtools.commands import answer
from devtools.failure import Failure
from devtools.places import Places
from devtools.say import Say
from devtools.venv import find_pip, make

SIMULATION = """
Inst libpq5 (15.20-0+deb12u1 Debian-Security:12/stable-security [amd64])
Inst libllvm14 (1:14.0.6-12 Debian:12.0/stable [amd64])
Inst perl (5.36.0 Debian:12.0/stable [amd64])
Inst libjson-perl (4.10000-1 Debian:12.0/stable [all])
Inst postgresql-common (248+deb12u1 Debian:12.0/stable [all])
Inst ssl-cert (1.1.2 Debian:12.0/stable [all])
Inst postgresql-15 (15.20-0+deb12u1 Debian-Security:12/stable-security [amd64])
Inst libxml2:amd64 (2.9.14 Debian:12.0/stable [amd64])
Conf libpq5 (15.20-0+deb12u1 Debian-Security:12/stable-security [amd64])
"""


def test_only_packages_that_a_private_server_needs_are_taken():
    assert packages.chosen(SIMULATION, ["postgresql"]) == ["libpq5", "postgresql-15", "libxml2:amd64"]


def test_what_was_asked_for_is_taken_whatever_its_name():
    assert "perl" in packages.chosen(SIMULATION, ["perl"])


def test_hooks_of_other_programs_are_not_run(tmp_path):
    text = packages.settings(tmp_path)
    assert "#clear APT::Update::Post-Invoke;" in text
    assert f'Dir::State::lists "{tmp_path}/lists";' in text


def test_only_missing_programs_are_asked_for(tmp_path):
    found = servers.Programs(pg_bin=tmp_path)
    assert servers.package_names(found) == ["pgbouncer", "redis-tools"]
    assert servers.package_names(replace(found, redis=tmp_path, pgbouncer=tmp_path)) == []
    assert found.missing == ["PgBouncer", "Redis"]


def test_a_wrong_pg_bin_is_named():
    with pytest.raises(Failure) as told:
        servers.installed_postgres({"PG_BIN": "/nowhere"})
    assert str(told.value) == (
        "PG_BIN=/nowhere has no initdb and postgres. Name the directory of PostgreSQL's programs."
    )


def test_a_wrong_redis_server_is_named():
    with pytest.raises(Failure, match="REDIS_SERVER=/nowhere is not a program"):
        servers.installed_redis({"REDIS_SERVER": "/nowhere"})


def test_unpacked_programs_start_with_their_own_libraries_in_a_path_with_spaces(tmp_path):
    root = tmp_path / "a root"
    program = root / "bin" / "program"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$LD_LIBRARY_PATH|$1"\n')
    program.chmod(0o755)
    (root / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    (root / "usr/lib/x86_64-linux-gnu/libpq.so.5").touch()

    script = packages.wrap(root, [program]) / "program"
    assert answer([script, "two words"]) == f"{root}/usr/lib/x86_64-linux-gnu|two words"


def test_a_taken_port_is_passed_over_and_a_free_one_is_kept():
    with socket.socket() as taken:
        taken.bind((ports.HOST, 0))
        taken.listen()
        busy = taken.getsockname()[1]
        (free,) = ports.any_free(1)
        chosen = ports.choose(["a", "b"], {"a": busy, "b": free}, busy)
    assert chosen["b"] == free
    assert chosen["a"] > busy


def test_each_name_gets_a_port_of_its_own():
    assert len(set(ports.choose(["a", "b", "c"], {}, ports.any_free(1)[0]).values())) == 3


def test_two_demos_that_start_at_once_choose_other_ports():
    """Nothing listens yet: the first is still making its servers."""
    (first,) = ports.any_free(1)
    choose = (
        f"from devtools import ports; print(ports.choose(['a'], {{}}, {first})['a'], flush=True); input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", choose], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        chosen = int(other.stdout.readline())
        assert chosen not in ports.choose(["a", "b"], {"a": chosen}, first).values()
    finally:
        other.communicate("\n")
    assert ports.choose(["a"], {"a": chosen}, first) == {"a": chosen}


def test_pip_sees_only_the_environment_and_not_the_packages_beside_itself(tmp_path):
    places = Places(tmp_path, tmp_path / ".local", tmp_path / ".local", account_of(os.geteuid()))
    make(places, tmp_path / "log")
    words = [*find_pip(places, tmp_path / "log", Say()), "list", "--format", "json"]
    assert answer(words) == "[]"
