"""The rooms of maintenance, each a list of panels."""

from dbadmin.pages import Page, Table

PAGES = [
    Page(
        "partitions",
        "Partitions",
        [Table("partitioned_tables"), Table("partitions")],
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
