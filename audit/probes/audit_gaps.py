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
actions:  watch_table(schema,table=renewed), upgrade_capture(database=outdated), unwatch_table(schema,table=dropped)
column missing:  1 when changes are missing now, 0 when they will be or are harder to read
column remedy:   the operation or the statement that mends it
column renewed:  the table, where watching it anew mends it
column dropped:  the table, where watching it no longer is what is left to do
column outdated: the database, where capture of an older version is to be upgraded
"""

from collections.abc import Iterable

from audit.gaps import find_gaps
from dbadmin.connections import Session

COLUMNS = (
    "schema", "table", "problem", "remedy", "missing", "renewed", "dropped", "outdated",
)  # fmt: skip


def rows(session: Session) -> Iterable[tuple[object, ...]]:
    """One row per finding."""
    database = session.connection.info.dbname
    for gap in find_gaps(session.rows):
        offered = (
            gap.table if gap.remedy == "watch_table" else None,
            gap.table if gap.remedy == "unwatch_table" else None,
            database if gap.remedy == "upgrade_capture" else None,
        )
        yield (gap.schema, gap.table, gap.problem, gap.remedy, int(gap.state == "critical"), *offered)
