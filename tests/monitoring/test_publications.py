"""What a database publishes, and the tables on which that makes updates fail."""

import pytest

from dbadmin.probes import PROBES

pytestmark = pytest.mark.servers


def test_names_the_publication_that_makes_updates_fail(target):
    target.rows("create table kept (id int primary key); create table loose (id int)")
    target.rows("create publication shop for table kept, loose with (publish = 'insert, update')")
    target.rows("create publication added for table loose with (publish = 'insert')")
    added, shop = PROBES["publications"].read(target).rows
    assert shop[3:] == ("insert, update", 2, 1)
    assert added[3:] == ("insert", 1, 0)
