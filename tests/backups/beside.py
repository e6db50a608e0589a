"""Tables as a restore leaves them beside the live ones, made without a backup: the same copy, the same comparison."""

from collections.abc import Callable

import pytest

from backups import side_tables
from backups.models import RowComparison, SideSchema, expiry
from backups.row_places import TableName
from dbadmin.connections import Session, open_dsn
from dbadmin.models import Run, Server

#: (what there was, which table, what happened to it since) -> how it compares.
Compared = Callable[[str, str, str], RowComparison]


@pytest.fixture
def compared(target: Session, server: Server, database: str, run: Callable[..., Run]) -> Compared:
    """A table beside the live one, in the schema side, and what differs."""

    def bring(before: str, name: str, since: str) -> RowComparison:
        target.connection.execute(before)
        dsn = server.dsn("operate", database)
        with open_dsn(dsn) as source, open_dsn(dsn) as live:
            (copied,) = side_tables.fill(source, live, "side", [TableName("public", name)], "a backup")
        target.connection.execute(since)
        side = SideSchema.objects.create(
            server=server, database=database, name="side", label="a backup", expires_at=expiry(1),
            tables=[{"schema": "public", "name": name, "side": copied.side, "rows": copied.rows}],
        )  # fmt: skip
        done = run("compare_side_schema", side=side.pk)
        assert done.status == Run.Status.SUCCEEDED, done.message
        return RowComparison.objects.get()

    return bring
