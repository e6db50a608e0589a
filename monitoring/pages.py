"""The rooms of a server, each a list of panels."""

from dbadmin.pages import Chart, Figures, Page, Table

SEE, STORE, SERVER = "See", "Store", "Server"

PAGES = [
    Page(
        "",
        "Overview",
        [
            Figures(
                "server_vitals",
                "Vital signs",
                columns=(
                    "connections_count",
                    "active_count",
                    "waiting_count",
                    "blocked_count",
                    "oldest_transaction_seconds",
                    "hit_ratio",
                ),
            ),
            Chart("server_vitals", "Connections", "half", series="connections_count"),
            Chart("server_vitals", "Transactions", "half", series="commits_total"),
            Chart("cache_hits", "Cache hit by database", "half", series="hit_ratio", by="database"),
            Chart("database_sizes", "Database size", "half", series="size_bytes", by="database"),
        ],
        SEE,
        order=10,
    ),
    Page("queries", "Queries", group=SEE, url_name="queries", order=11),
    Page(
        "activity",
        "Activity",
        [
            Table("sessions"),
            Table("blocking_tree"),
            Table("wait_events", width="half"),
            Table("long_transactions", width="half"),
            Table("idle_in_transaction", width="half"),
            Chart("wait_events", "Sessions that wait", "half", series="sessions_count"),
        ],
        SEE,
        order=12,
        about="Who is connected now, what each session does, who waits for whom.",
    ),
    Page(
        "connections",
        "Connections",
        [
            Figures(
                "server_vitals",
                "Against the limit",
                columns=("connections_count", "connections_limit_count", "connections_ratio"),
            ),
            Chart("server_vitals", "Connections", series="connections_count"),
            Table("connections_by_state", width="half"),
            Table("connections_by_role", width="half"),
            Table("connections_by_database", width="half"),
            Table("connections_by_client", width="half"),
        ],
        SEE,
        order=13,
        about="How many connections there are, whose, and how near the limit.",
    ),
    Page(
        "cache",
        "Cache hit",
        [
            Table("cache_hits"),
            Chart("cache_hits", "Cache hit by database", series="hit_ratio", by="database"),
            Table("table_cache_hits"),
        ],
        SEE,
        order=14,
        about="How much was found in shared buffers. What the operating system caches is not seen by PostgreSQL.",
        per_database=True,
    ),
    Page(
        "tables",
        "Tables",
        [Table("tables"), Chart("database_sizes", "Database size", series="size_bytes", by="database")],
        STORE,
        order=20,
        about="Size, growth, rows, dead rows and scans of every table.",
        per_database=True,
    ),
    Page(
        "indexes",
        "Indexes",
        [Table("invalid_indexes"), Table("unused_indexes"), Table("duplicate_indexes"), Table("indexes")],
        STORE,
        order=21,
        about="Which indexes are used, which are not, which repeat another, which are broken.",
        per_database=True,
    ),
    Page(
        "views",
        "Materialized views",
        [Table("materialized_views")],
        STORE,
        order=22,
        about="Size and freshness; refresh them here.",
        per_database=True,
    ),
    Page("readiness", "Readiness", group=SERVER, url_name="readiness", order=90),
]
