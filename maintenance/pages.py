"""The rooms of maintenance, each a list of panels."""

from dbadmin.pages import Page, Table

PARTITIONED = (
    "schema", "table", "partitioned_by", "partitions_count", "total_bytes", "covered_seconds", "lead_seconds",
    "hole_at", "ends_at", "outgrown_ratio", "default_rows",
)  # fmt: skip
PARTITION = (
    "parent", "partition", "holds", "total_bytes", "live_rows", "inserted_rows_total", "is_being_detached",
)  # fmt: skip

PAGES = [
    Page(
        "partitions",
        "Partitions",
        [Table("partitioned_tables", columns=PARTITIONED), Table("partitions", columns=PARTITION)],
        "Data",
        "maintenance.view",
        order=23,
        about="Partitioned tables, what their partitions cover, and which are missing.",
        per_database=True,
    ),
    Page(
        "integrity",
        "Integrity",
        [Table("unvalidated_constraints"), Table("foreign_keys_without_index"), Table("tables_without_key")],
        "Data",
        "maintenance.view",
        order=27,
        about="Constraints that were never checked, references without an index, tables without a key.",
        per_database=True,
    ),
    Page(
        "security",
        "Row security",
        [Table("row_security"), Table("storage_parameters")],
        "Data",
        "maintenance.view",
        order=28,
        about="Which tables restrict rows, and which carry storage settings of their own.",
        per_database=True,
    ),
]
