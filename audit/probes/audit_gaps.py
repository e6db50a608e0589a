"""title:    Gaps in the audit log
about:    Where changes of watched tables are not recorded, or will not be.
empty:    Every change of the watched tables is recorded.
scope:    database
judged:   primary
every:    60s
key:      schema, table, problem
series:   rows
warning:  missing > -1
critical: missing > 0
actions:  watch_table(schema, table)
column missing:  1 when changes are missing now, 0 when they will be or are harder to read
column remedy:   the operation or the statement that mends it
"""

from collections.abc import Iterable

from audit.gaps import find_gaps
from dbadmin.connections import Session

COLUMNS = ("schema", "table", "problem", "remedy", "missing")


def rows(session: Session) -> Iterable[tuple[object, ...]]:
    """One row per finding."""
    for gap in find_gaps(session.rows):
        yield (gap.schema, gap.table, gap.problem, gap.remedy, int(gap.state == "critical"))
