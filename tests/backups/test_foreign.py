"""Repositories of pgBackRest, Barman and WAL-G: what their own output holds, where it is broken, why it is unknown."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backups.bars import of_repository
from backups.foreign import barman, contents, pgbackrest, walg
from backups.foreign.contents import Source, Unreadable, documents, seen
from backups.foreign.models import ForeignRepository
from backups.foreign.reading import understood
from backups.foreign.sources import Answer

SIZE = 16 << 20
PRINTED = Path(__file__).parent / "foreign"
CLUSTER = "7712947838296996073"
BARMAN = ("barman_list", "barman_show_newest", "barman_show_oldest", "barman_files_oldest")


def printed(*names: str) -> str:
    """What the tools printed, one document behind the other."""
    return "\n".join((PRINTED / f"{name}.json").read_text() for name in names)


def held(tool: Any, name: str, *names: str, **source: Any) -> dict[str, Any]:
    found = tool.parse(documents(printed(*names)), name, SIZE)
    return seen(found, Source(SIZE, **source), datetime(2026, 11, 27, 21, tzinfo=UTC))


def at(time: str) -> str:
    return f"2026-11-27T{time}+00:00"


def test_pgbackrest_is_read_with_every_segment_of_its_archive() -> None:
    found = held(pgbackrest, "shop", "pgbackrest_info", "pgbackrest_listing", system_id=CLUSTER)
    assert [(each["kind"], each["needs"], each["problem"]) for each in found["backups"]] == [
        ("incr", ["20261127-201652F", "20261127-201652F_20261127-201657D"], ""),
        ("diff", ["20261127-201652F"], ""),
        ("full", [], ""),
    ]
    assert found["backups"][2]["plain_bytes"] == 22_992_620
    assert found["backups"][0]["stored_bytes"] == 21_933
    assert found["windows"] == [{"start": at("20:16:56"), "end": at("20:17:01")}]
    assert (found["holes"], found["problems"], found["holes_known"]) == ([], [], True)
    assert found["last_segment"] == "00000001000000000000000D"


def test_a_segment_that_pgbackrest_lost_is_a_hole_though_it_says_ok() -> None:
    found = held(pgbackrest, "shop", "pgbackrest_info", "pgbackrest_listing_with_hole")
    assert found["holes"] == [{"start": at("20:17:00"), "end": None, "missing": "00000001000000000000000C"}]
    assert found["windows"] == [{"start": at("20:16:56"), "end": at("20:17:00")}]


def test_windows_and_holes_are_drawn_as_bars() -> None:
    found = held(pgbackrest, "shop", "pgbackrest_info", "pgbackrest_listing_with_hole")
    read_at = datetime(2026, 11, 27, 20, 17, 6, tzinfo=UTC)
    drawing = of_repository(ForeignRepository(seen=found, as_of=read_at))
    assert [(bar.kind, bar.x, bar.width) for bar in drawing.bars] == [
        ("window", 0.0, 400.0), ("hole", 400.0, 600.0), ("base", 400.0, 2), ("base", 200.0, 2), ("base", 0.0, 2),
    ]  # fmt: skip
    assert drawing.bars[1].title == "Missing: 00000001000000000000000C"
    assert (drawing.ticks[0].isoformat(), drawing.ticks[-1]) == (at("20:16:56"), read_at)
    whole = held(pgbackrest, "shop", "pgbackrest_info", "pgbackrest_listing")
    (window, *_) = of_repository(ForeignRepository(seen=whole, as_of=read_at)).bars
    assert (window.x, window.width) == (0.0, 1000.0)
    assert (
        of_repository(ForeignRepository(seen=held(barman, "shop", "barman_list"), as_of=read_at)).bars == ()
    )
    assert of_repository(ForeignRepository()).bars == ()


def test_of_the_ends_alone_nobody_says_that_there_is_no_hole() -> None:
    found = held(pgbackrest, "shop", "pgbackrest_info")
    assert (found["holes"], found["holes_known"]) == ([], False)
    assert found["windows"] == [{"start": at("20:16:56"), "end": at("20:17:00")}]


def test_a_promotion_is_followed_to_the_next_timeline() -> None:
    found = held(pgbackrest, "shop", "pgbackrest_promoted_info")
    assert (found["holes"], found["last_segment"]) == ([], "000000020000000000000010")
    listing = json.loads(printed("pgbackrest_promoted_listing"))
    lost = json.loads(printed("pgbackrest_listing"))
    whole = [*documents(printed("pgbackrest_promoted_info")), listing | lost]
    result = seen(pgbackrest.parse(whole, "shop", SIZE), Source(SIZE), datetime.now(UTC))
    until = listing[
        "15-1/0000000200000000/000000020000000000000010-5e1894322872680996d71e81815f1070180f31a9.gz"
    ]
    assert result["holes"] == []
    assert [each["end"] for each in result["windows"]] == [
        datetime.fromtimestamp(until["time"], UTC).isoformat()
    ]


def test_what_a_backup_builds_on_must_be_there() -> None:
    info = json.loads(printed("pgbackrest_info"))
    info[0]["backup"][0]["error"] = True
    told = seen(pgbackrest.parse([info], "shop", SIZE), Source(SIZE), datetime.now(UTC))
    assert [each["problem"] for each in told["backups"]] == [
        "It needs 20261127-201652F, which is not whole there.",
        "It needs 20261127-201652F, which is not whole there.",
        "pgBackRest found wrong page checksums in it.",
    ]
    assert told["problems"] == ["It holds no backup that is whole."]
    delta = json.loads(printed("walg_backups"))[1:]
    (saved,) = walg.parse([delta], "shop", SIZE).saved
    assert saved.problem == "It needs base_000000010000000000000003, which is not whole there."


def test_a_backup_of_a_stopped_cluster_has_no_wal_and_one_of_an_older_cluster_leads_nowhere() -> None:
    info = json.loads(printed("pgbackrest_info"))
    info[0]["backup"][0] |= {"archive": {"start": None, "stop": None}, "lsn": None}
    info[0]["db"].append({"id": 2, "repo-key": 1, "system-id": 42, "version": "16"})
    found = pgbackrest.parse([info], "shop", SIZE)
    assert [saved.span for saved in found.saved] == [None, None, None]
    assert found.system_id == "42"


def test_what_pgbackrest_says_of_this_repository_is_told() -> None:
    info = json.loads(printed("pgbackrest_info"))
    info[0]["repo"][0]["status"] = {"code": 3, "message": "missing stanza data"}
    told = seen(pgbackrest.parse([info], "shop", SIZE), Source(SIZE), datetime.now(UTC))
    assert told["problems"] == ["pgBackRest says: missing stanza data."]
    info[0]["repo"][0]["status"] = {"code": 99, "message": "[CryptoError] cipher header invalid"}
    info[0]["db"] = []
    with pytest.raises(Unreadable, match=r"^pgBackRest says: \[CryptoError\] cipher header invalid\.$"):
        pgbackrest.parse([info], "shop", SIZE)


def test_barman_is_read_with_the_list_of_its_wal() -> None:
    found = held(barman, "shop", *BARMAN, "barman_files_newest", system_id="7712948072087360470")
    assert [(each["label"], each["kind"], each["plain_bytes"]) for each in found["backups"]] == [
        ("20261127T201753", "full", 23_310_025),
        ("20261127T201747", "full", 23_174_857),
    ]
    assert found["windows"] == [{"start": at("20:17:49"), "end": at("20:17:55")}]
    assert (found["holes"], found["problems"], found["holes_known"]) == ([], [], True)


def test_a_segment_that_barman_does_not_list_is_a_hole() -> None:
    found = held(barman, "shop", *BARMAN, "barman_files_with_hole")
    assert found["holes"] == [{"start": at("20:17:55"), "end": None, "missing": "000000010000000000000009"}]


def test_of_a_bare_list_the_windows_are_unknown() -> None:
    for found in (held(barman, "shop", "barman_list"), held(walg, "shop", "walg_backups")):
        assert len(found["backups"]) == 2
        assert (found["windows"], found["holes"], found["holes_known"]) == ([], [], False)
        assert found["problems"] == []


def test_a_bucket_of_barman_is_read_and_its_windows_are_unknown() -> None:
    found = held(barman, "shop", "barman_cloud_list", system_id="7713003242623839078")
    assert [(each["label"], each["finished_at"], each["problem"]) for each in found["backups"]] == [
        ("20261127T235257", at("23:53:00"), ""),
        ("20261127T235216", at("23:52:20"), ""),
    ]
    assert (found["windows"], found["holes_known"], found["problems"]) == ([], False, [])
    listed = json.loads(printed("barman_cloud_list"))
    first, second = listed["backups_list"]
    # A host six hours behind; a version that tells the zone; one that failed.
    first |= {"begin_time": "Fri Nov 27 17:52:19 2026", "end_time": "Fri Nov 27 17:58:20 2026"}
    second |= {"end_time_iso": "2026-11-28T01:53:00.123456+02:00", "size": 1234, "cluster_size": 5678}
    listed["backups_list"].append(second | {"backup_id": "20261128T000000", "status": "FAILED"})
    told = seen(barman.parse([listed], "shop", SIZE), Source(SIZE), datetime.now(UTC))
    assert [(each["label"], each["finished_at"], each["stored_bytes"]) for each in told["backups"]] == [
        ("20261128T000000", None, 1234),
        ("20261127T235216", at("23:58:20"), None),
        ("20261127T235257", "2026-11-28T01:53:00.123456+02:00", 1234),
    ]
    assert told["backups"][0]["problem"] == "Barman says that it failed."
    first["backup_label"] = first["backup_label"].replace(" UTC", " CET")
    with pytest.raises(Unreadable) as unread:
        barman.parse([listed], "shop", SIZE)
    assert str(unread.value) == (
        "Barman tells the moments of 20261127T235216 without their time zone. List the bucket with a newer "
        "barman-cloud-backup-list, which tells it."
    )


def test_walg_is_read_with_its_timelines_and_what_they_miss() -> None:
    found = held(walg, "shop", "walg_backups", "walg_wal", system_id=CLUSTER)
    assert [
        (each["kind"], each["is_kept"], each["stored_bytes"], each["needs"]) for each in found["backups"]
    ] == [
        ("delta", False, None, ["base_000000010000000000000003"]),
        ("full", True, 3_043_487, []),
    ]
    assert [hole["missing"] for hole in found["holes"]] == ["00000002000000000000000E"]
    assert found["windows"][0]["start"] == "2026-11-20T01:00:40.987654+00:00"
    assert found["problems"] == []


def test_what_walg_3_printed_is_read_with_its_deltas_across_a_promotion() -> None:
    found = held(walg, "shop", "walg_3_0_backups", "walg_3_0_wal", system_id="7713230571303033389")
    deltas = ["base_000000010000000000000008_D_000000010000000000000005",
              "base_00000001000000000000000A_D_000000010000000000000008"]  # fmt: skip
    assert [
        (
            each["label"],
            each["kind"],
            each["needs"],
            each["is_kept"],
            each["plain_bytes"],
            each["stored_bytes"],
        )
        for each in found["backups"]
    ] == [
        ("base_000000010000000000000010", "full", [], False, 37_476_510, 12_885_389),
        ("base_00000001000000000000000C", "full", [], False, 37_386_396, 12_869_811),
        (deltas[1], "delta", [deltas[0]], False, 262_539, 148_078),
        (deltas[0], "delta", ["base_000000010000000000000005"], False, 565_791, 338_184),
        ("base_000000010000000000000005", "full", [], False, 37_173_404, 12_741_287),
        ("base_000000010000000000000003", "full", [], True, 36_846_903, 12_627_280),
    ]
    assert found["windows"] == [
        {"start": "2026-11-28T14:34:06.813988+00:00", "end": "2026-11-28T14:35:57.876738+00:00"}
    ]
    assert (found["holes"], found["problems"], found["holes_known"]) == ([], [], True)
    assert found["last_segment"] == "000000020000000000000015"


def test_a_segment_that_walg_3_lost_is_a_hole_up_to_the_next_backup() -> None:
    found = held(walg, "shop", "walg_3_0_backups", "walg_3_0_wal_with_hole")
    assert found["holes"] == [
        {
            "start": "2026-11-28T14:34:29.675331+00:00",
            "end": "2026-11-28T14:34:30.465195+00:00",
            "missing": "000000010000000000000009",
        }
    ]


def test_of_deltas_that_build_on_one_another_none_is_whole_without_the_first() -> None:
    listed = documents(printed("walg_3_0_backups"))[0]
    left = [each for each in listed if each["backup_name"] != "base_000000010000000000000005"]
    problems = {saved.label: saved.problem for saved in walg.parse([left], "shop", SIZE).saved if saved.needs}
    first = "base_000000010000000000000008_D_000000010000000000000005"
    assert problems == {
        first: "It needs base_000000010000000000000005, which is not whole there.",
        "base_00000001000000000000000A_D_000000010000000000000008": f"It needs {first}, which is not whole there.",
    }


def test_wal_that_a_replaced_primary_went_on_to_write_does_not_stand_for_the_wal_of_the_new_one() -> None:
    found = held(walg, "shop", "walg_3_0_backups", "walg_3_0_wal_forked")
    assert [(hole["missing"], hole["end"]) for hole in found["holes"]] == [("000000020000000000000014", None)]


def test_without_its_history_file_no_backup_leads_to_a_timeline() -> None:
    archived = {"archived": "000000020000000000000015", "archived_at": datetime(2026, 11, 28, 15, tzinfo=UTC)}
    found = held(walg, "shop", "walg_3_0_backups", "walg_3_0_wal_without_history", **archived)
    assert found["windows"][-1]["end"] == "2026-11-28T14:35:57.876738+00:00"
    assert found["problems"] == [
        (
            "It lacks 00000002.history, without which no backup of an older timeline can be rolled forward to "
            "timeline 2. Archive it again: it is in pg_wal of the server."
        )
    ]


def test_walg_is_read_with_what_its_versions_leave_out_and_add() -> None:
    bare = {
        "backup_name": "base_000000010000000000000009", "time": "2026-11-22T01:00:41.757Z",
        "wal_file_name": "000000010000000000000009", "start_time": "0001-01-01T00:00:00Z",
        "finish_time": "0001-01-01T00:00:00Z", "date_fmt": "", "hostname": "", "data_dir": "", "pg_version": 0,
        "start_lsn": 0, "finish_lsn": 0, "is_permanent": False,
    }  # fmt: skip
    plain = {"backup_name": "base_000000010000000000000005", "modified": "2026-11-21T01:00:00+03:00",
             "wal_file_name": "ZZZZZZZZZZZZZZZZZZZZZZZZ", "storage_name": "default"}  # fmt: skip
    full = documents(printed("walg_backups"))[0][0]
    timeline = {**documents(printed("walg_wal"))[0][0], "backups": [full, bare]}
    found = walg.parse([[bare, plain, full], [timeline]], "any", SIZE)
    assert [
        (each.label, each.started_at, str(each.finished_at), each.span is None) for each in found.saved[:2]
    ] == [
        ("base_000000010000000000000009", None, "2026-11-22 01:00:41.757000+00:00", True),
        ("base_000000010000000000000005", None, "2026-11-21 01:00:00+03:00", True),
    ]
    assert len(found.saved) == 3
    told = seen(found, Source(SIZE), datetime(2026, 11, 23, tzinfo=UTC))
    assert {each["kind"] for each in told["backups"]} == {"full"}


def test_the_server_is_asked_whose_repository_it_is_and_what_it_archived() -> None:
    told = {"archived": "00000001000000000000001F", "archived_at": datetime(2026, 11, 27, 20, 40, tzinfo=UTC)}
    found = held(pgbackrest, "shop", "pgbackrest_info", "pgbackrest_listing", system_id="42", **told)
    assert found["problems"] == [
        (
            f"It is of another cluster: its system identifier is {CLUSTER}, the server's 42. Register the right "
            "repository, or make a new one after an upgrade."
        ),
        (
            "The server archived 00000001000000000000001F, which the repository does not have. See where "
            "archive_command sends it."
        ),
    ]
    told["archived_at"] = datetime(2026, 11, 27, 20, 55, tzinfo=UTC)  # on its way
    assert held(pgbackrest, "shop", "pgbackrest_info", **told)["problems"] == []


def test_an_empty_repository_has_a_problem_and_no_zeros() -> None:
    for tool, name in (
        (pgbackrest, "pgbackrest_empty"), (barman, "barman_empty"), (barman, "barman_cloud_empty"),
    ):  # fmt: skip
        found = held(tool, "shop", name)
        assert (found["backups"], found["problems"]) == ([], ["It holds no backup that is whole."])
    assert seen(walg.parse([None, None], "any", SIZE), Source(SIZE), datetime.now(UTC))["problems"] == [
        "It holds no backup that is whole."
    ]


@pytest.mark.parametrize(
    ("tool", "name", "text", "says"),
    [
        (pgbackrest, "nowhere", "pgbackrest_no_stanza", "It has no stanza nowhere. It has none."),
        (pgbackrest, "other", "pgbackrest_info", "It has no stanza other. It has shop."),
        (pgbackrest, "shop/2", "pgbackrest_info", "It has no repository 2 of this stanza."),
        (pgbackrest, "shop", "barman_list",
         "This is JSON, but not what “pgbackrest info --output=json” prints."),
        (barman, "nowhere", "barman_no_server", "Barman says: Unknown server 'nowhere'."),
        (barman, "other", "barman_list", "It has no server other. It has shop."),
        (barman, "shop", "walg_wal", "This is JSON, but not what “barman -f json list-backups” prints."),
        (walg, "shop", "barman_list", "This is JSON, but not what “wal-g backup-list --detail --json” prints."),
        (walg, "shop", "pgbackrest_info", "The JSON holds entries that are neither backups nor timelines of WAL-G."),
    ],
)  # fmt: skip
def test_what_is_of_no_use_is_named(tool: Any, name: str, text: str, says: str) -> None:
    with pytest.raises(Unreadable) as told:
        tool.parse(documents(printed(text)), name, SIZE)
    assert str(told.value) == says


def test_what_is_malformed_is_named_with_its_place() -> None:
    with pytest.raises(Unreadable) as told:
        documents('[{"name": "shop",\n "backup": [')
    assert str(told.value) == (
        "This is not JSON: Expecting value at line 2, column 13. A file that is read while it is written ends early: "
        "write it beside, then rename it."
    )
    with pytest.raises(
        Unreadable, match=r"^This is not what the tool prints: its brackets are nested too deep\.$"
    ):
        documents("[" * 200_000)
    info = json.loads(printed("pgbackrest_info"))
    for path, value, says in (
        (("timestamp",), {"start": 1}, "The JSON lacks “timestamp.stop” in one of its entries."),
        (("timestamp",), {"start": "noon", "stop": 1}, "“timestamp.start” is no moment in the JSON: noon"),
        (("info", "size"), "much", "“info.size” is no number in the JSON: much"),
        (("archive", "start"), "1", "This is no name of a WAL segment: 1"),
    ):
        wrong = json.loads(json.dumps(info))
        place = wrong[0]["backup"][0]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        with pytest.raises(Unreadable) as told:
            pgbackrest.parse([wrong], "shop", SIZE)
        assert str(told.value) == says


def test_keys_that_nobody_knows_yet_do_no_harm() -> None:
    def grown(value: Any) -> Any:
        if isinstance(value, list):
            return [grown(each) for each in value]
        if isinstance(value, dict):
            return {key: grown(each) for key, each in value.items()} | {"new_key": [None, {"deep": 1}]}
        return value

    for tool, names in ((pgbackrest, ["pgbackrest_info"]), (walg, ["walg_backups", "walg_wal"])):
        plain = [json.loads(printed(name)) for name in names]
        expected = tool.parse(plain, "shop", SIZE).saved
        assert tool.parse([grown(each) for each in plain], "shop", SIZE).saved == expected


def changed(value: Any, chance: random.Random) -> Any:
    """The same with a few places of another kind."""
    if chance.random() < 0.02:
        return chance.choice([None, -1, "", "x", [], {}, [1], {"a": 1}, 1e400, 10**40, "\0", "\ud800", True])
    if isinstance(value, list):
        return [changed(each, chance) for each in value]
    if isinstance(value, dict):
        return {key: changed(each, chance) for key, each in value.items()}
    return value


@pytest.mark.parametrize(
    ("tool", "names"),
    [
        ("pgbackrest", ["pgbackrest_promoted_info", "pgbackrest_promoted_listing"]),
        ("pgbackrest", ["pgbackrest_info"]),
        ("barman", [*BARMAN, "barman_files_newest"]),
        ("barman", ["barman_cloud_list"]),
        ("walg", ["walg_backups", "walg_wal"]),
    ],
)
def test_whatever_stands_in_the_json_it_is_understood_or_named(tool: str, names: list[str]) -> None:
    whole = documents(printed(*names))
    repository, ends = ForeignRepository(tool=tool, name="shop"), set()
    for seed in range(400):
        answer = Answer(changed(whole, random.Random(seed)), datetime.now(UTC))
        try:
            found = understood(repository, answer, Source(SIZE))
        except Unreadable as why:
            ends.add("named" if str(why) else "")
        else:
            json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
            ends.add("understood")
    assert ends == {"named", "understood"}


def test_of_very_many_backups_the_newest_are_kept_and_all_are_counted() -> None:
    info = json.loads(printed("pgbackrest_info"))
    (first, *_) = info[0]["backup"]
    info[0]["backup"] = [
        first | {"label": f"backup-{each}", "timestamp": {"start": 10**9 + each, "stop": 10**9 + each + 1}}
        for each in range(1000)
    ]
    found = seen(pgbackrest.parse([info], "shop", SIZE), Source(SIZE), datetime.now(UTC))
    assert (len(found["backups"]), found["backups_count"]) == (contents.MOST_KEPT, 1000)
    assert found["backups"][0]["label"] == "backup-999"
