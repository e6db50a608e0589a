"""A row is copied over the one with its key and over no other, whatever its key is made of."""

from collections.abc import Callable

import pytest

from dbadmin.connections import Session
from dbadmin.models import Run, Server
from tests.backups.beside import Compared
from tests.backups.test_faults import refusal

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

COMMAS = """
create table pairs (a text, b text, n int, primary key (a, b));
insert into pairs values ('a, b', 'c', 1), ('a', 'b, c', 2), ('x', 'y', 3);
"""


def test_a_line_that_two_keys_are_written_as_is_refused_and_the_rows_can_be_ticked(
    compared: Compared, target: Session, server: Server, run: Callable[..., Run]
) -> None:
    found = compared(COMMAS, "pairs", "delete from pairs")
    assert refusal(server, "copy_rows", comparison=found.pk, kind="missing", keys="x, y\na, b, c") == (
        "a, b, c is how the keys of several rows are written. Tick those rows on the page of differences."
    )
    wanted = found.differences.get(key=["a", "b, c"])
    done = run("copy_rows", comparison=found.pk, kind="missing", rows=[wanted.pk])
    assert done.status == Run.Status.SUCCEEDED, done.message
    assert target.rows("select a, b, n from pairs") == [("a", "b, c", 2)]
