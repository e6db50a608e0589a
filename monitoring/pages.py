"""The rooms of a server, each a list of panels."""

from dbadmin.pages import Chart, Figures, Page, Table

SEE, DATA, SERVER = "See", "Data", "Server"
# The columns that tell most stand first: what lies beyond the edge of a screen is looked at last.
SESSION = (
    "pid", "state", "query_seconds", "transaction_seconds", "waits_for", "query", "role", "application",
)  # fmt: skip
LONG = (
    "pid", "state", "transaction_seconds", "state_seconds", "waits_for", "role", "application", "database",
    "xmin_age_count", "locks_count",
)  # fmt: skip
BLOCKED = (
    "pid", "wait_seconds", "front_pid", "blocked_by", "wanted_lock", "relation", "query", "role", "application",
    "database", "lock_kind",
)  # fmt: skip
FORECAST = (
    "what", "database", "object", "says", "now", "limit", "growth", "full_seconds", "earliest_seconds",
    "latest_seconds",
)  # fmt: skip
TREE = (
    "pid", "waiters_count", "state", "transaction_seconds", "waits_for", "query", "role", "application", "database",
    "state_seconds", "blocked_by",
)  # fmt: skip
IDLE = ("pid", "idle_seconds", "last_query")
TABLE = (
    "schema", "table", "total_bytes", "live_rows", "dead_rows", "dead_ratio", "sequential_scans_total",
    "sequential_rows_total", "index_rows_total", "last_vacuum_at", "last_analyze_at",
)  # fmt: skip
VIEW = (
    "schema", "view", "is_populated", "refreshed_at", "stale_seconds", "base_changes_total", "total_bytes", "live_rows",
    "refreshable_beside_readers", "scans_total",
)  # fmt: skip
FACTS = (
    "kind", "total_bytes", "heap_bytes", "index_bytes", "toast_bytes", "live_rows", "dead_rows", "hot_ratio",
    "sequential_scans_total", "index_scans_total", "xid_age_count", "rows_from", "owner", "tablespace", "row_security",
    "replica_identity", "options", "comment",
)  # fmt: skip
FRESHNESS = (
    "refreshed_at", "stale_seconds", "base_changes_total", "is_populated", "refreshable_beside_readers",
    "base_tables_count",
)  # fmt: skip
SIZE = ("total_bytes", "heap_bytes", "index_bytes", "toast_bytes")
READ = ("sequential_rows_total", "index_rows_total")
WRITTEN = ("inserted_rows_total", "updated_rows_total", "hot_updated_rows_total", "deleted_rows_total")
TABLE_INDEX = (
    "index", "columns", "has_expressions", "is_partial", "method", "enforces", "is_valid", "size_bytes", "scans_total",
    "last_used_at",
)  # fmt: skip
TABLE_STATEMENT = (
    "query", "role", "total_seconds", "share_ratio", "calls_count", "mean_seconds", "rows_count", "schema_is_said",
)  # fmt: skip
TABLE_CONSTRAINT = ("constraint", "kind", "table", "definition", "is_validated", "is_deferrable")
TABLE_BLOAT = (
    "bloat_bytes", "bloat_low_bytes", "bloat_high_bytes", "bloat_ratio", "confidence", "heap_bytes",
)  # fmt: skip
NO_BLOAT = "No estimate: it is below 1 MiB, holds no rows of its own, or was not there an hour ago."
EXACT_BLOAT = (
    "bloat_ratio", "dead_bytes", "free_bytes", "dead_rows", "live_rows", "heap_bytes", "scanned_ratio",
)  # fmt: skip
COSTLY = "Pages that not everybody sees in full are read one by one, for a minute at most."
VACUUM = (
    "schema", "table", "vacuum_due_ratio", "insert_due_ratio", "analyze_due_ratio", "freeze_ratio", "dead_rows",
    "live_rows", "autovacuum", "last_autovacuum_at",
)  # fmt: skip
AGE = ("database", "used_ratio", "freeze_ratio", "xid_age_count", "multixact_age_count", "left_count")
OLDEST = ("schema", "table", "is_toast", "freeze_ratio", "xid_age_count")
SETTING = ("name", "value", "built_in", "pending_count", "source")
COUNTS = (
    "connections_count",
    "active_count",
    "idle_in_transaction_count",
    "idle_count",
    "connections_limit_count",
)

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
    Page("timeline", "Timeline", group=SEE, url_name="timeline", order=11),
    Page("compare", "Compare", group=SEE, url_name="compare", order=12),
    Page(
        "activity",
        "Activity",
        [
            Table("sessions", columns=SESSION),
            Table("blocking_tree", columns=TREE),
            Table("long_transactions", columns=LONG),
            Table("wait_events", width="half"),
            Table("idle_in_transaction", width="half", columns=IDLE),
            Table("progress"),
            Chart(
                "waits_by_statement",
                "Sessions at work, by what they wait for",
                series="waited_seconds_total",
                by="wait_kind",
            ),
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
            Table("connections_by_role", width="half", columns=("role", *COUNTS)),
            Table("connections_by_database", width="half", columns=("database", *COUNTS)),
            Table(
                "connections_by_client", width="half", columns=("application", "client", "role", *COUNTS[:2])
            ),
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
        [
            Table("tables", columns=TABLE),
            Chart("database_sizes", "Database size", series="size_bytes", by="database"),
        ],
        DATA,
        order=20,
        about="Size, growth, rows, dead rows and scans of every table.",
        per_database=True,
    ),
    Page(
        "table",
        "Table",
        [
            Figures("table_facts", columns=FACTS),
            Figures("materialized_views", "Freshness", columns=FRESHNESS, if_any=True),
            Chart("tables", "Size", "half", series=SIZE, together=True),
            Chart("tables", "Rows", "half", series=("live_rows", "dead_rows"), together=True),
            Chart("tables", "Rows read", "half", series=READ, together=True),
            Chart("tables", "Rows written", "half", series=WRITTEN, together=True),
            Table("table_family", if_any=True),
            Table("table_indexes", columns=TABLE_INDEX),
            Table("table_statements", columns=TABLE_STATEMENT),
            Table("table_vacuum"),
            Table("table_columns"),
            Table("table_constraints", columns=TABLE_CONSTRAINT),
            Table("table_bloat", "Bloat, estimated", columns=TABLE_BLOAT, empty=NO_BLOAT),
            Table("exact_bloat", "Bloat, measured", columns=EXACT_BLOAT, empty=COSTLY, on_demand=True),
            Figures("table_size", empty="Its files are measured when you ask.", on_demand=True),
            Table(
                "audited_tables",
                "Audit",
                columns=("since_at", "key", "versions", "log_bytes"),
                empty="Its changes are not recorded.",
                more=("Recorded changes", "audit/?table={schema}.{table}"),
            ),
            Table("audit_gaps", columns=("problem", "remedy"), if_any=True),
        ],
        DATA,
        hidden=True,
        about="All that is known of it: size, use, vacuum, columns, indexes, constraints, and what can be done.",
        per_database=True,
        subject=("schema", "table"),
        also={"view": "table", "partition": "table"},
        below="tables",
        range="7d",
    ),
    Page(
        "indexes",
        "Indexes",
        [
            Table("invalid_indexes"),
            Table("unused_indexes"),
            Table("duplicate_indexes"),
            Table("sequential_scans"),
            Table("indexes"),
        ],
        DATA,
        order=21,
        about="Which indexes are used, which are not, which repeat another, which are broken.",
        per_database=True,
    ),
    Page(
        "views",
        "Materialized views",
        [Table("materialized_views", columns=VIEW)],
        DATA,
        order=22,
        about="Size and freshness; refresh them here.",
        per_database=True,
    ),
    Page(
        "bloat",
        "Bloat",
        [Table("table_bloat"), Table("index_bloat")],
        DATA,
        order=25,
        about="Estimates with their error; an exact check reads the whole table and is offered for one at a time.",
        per_database=True,
    ),
    Page(
        "sequences",
        "Sequences",
        [Table("sequences")],
        DATA,
        order=26,
        about="Which counters come near the end of their column's type.",
        per_database=True,
    ),
    Page(
        "functions",
        "Functions",
        [Table("functions")],
        DATA,
        order=27,
        about="What functions cost, where track_functions counts them.",
        per_database=True,
    ),
    Page(
        "locks",
        "Locks",
        [
            Table("blocked_sessions", columns=BLOCKED),
            Table("blocking_tree", columns=TREE),
            Table("prepared_transactions"),
            Chart("blocked_sessions", "Sessions that are blocked", series="rows"),
        ],
        SEE,
        order=13,
        about="Who waits for a lock, who holds it, and who stands at the front.",
    ),
    Page(
        "vacuum",
        "Vacuum",
        [
            Table("vacuum_progress"),
            Table("vacuum_state", columns=VACUUM),
            Table("xmin_horizon"),
            Table("wraparound", width="half", columns=AGE),
            Table("table_wraparound", width="half", limit=12, columns=OLDEST),
        ],
        SERVER,
        order=40,
        about="What autovacuum does, what it waits for, and how far the transaction counters are.",
        per_database=True,
    ),
    Page(
        "replication",
        "Replication",
        [
            Table("standbys"),
            Table("replication_slots"),
            Figures("replication_lag"),
            Chart("replication_lag", "Lag", series="lag_seconds"),
            Table("subscriptions"),
            Table("publications"),
            Table("standby_conflicts"),
        ],
        SERVER,
        order=41,
        about="Who follows this server, how far behind, and what the slots hold back.",
    ),
    Page(
        "wal",
        "WAL and checkpoints",
        [
            Figures("wal"),
            Chart("wal", "WAL written", "half", series="wal_bytes_total"),
            Chart("checkpoints", "Written by checkpoints", "half", series="written_bytes_total"),
            Figures("wal_files"),
            Figures("archiver"),
            Figures("checkpoints"),
            Figures("background_writer"),
        ],
        SERVER,
        order=42,
    ),
    Page(
        "io",
        "Input and output",
        [
            Figures("host_load"),
            Table("io"),
            Table("temp_files"),
            Table("slru", width="half"),
            Table("tablespaces", width="half"),
        ],
        SERVER,
        order=43,
    ),
    Page(
        "pools",
        "Pools",
        [Table("pools"), Table("pool_stats"), Table("pool_clients"), Figures("redis_cache")],
        SERVER,
        order=44,
        about="What PgBouncer says of itself, and the Redis that applications use as a cache.",
    ),
    Page(
        "settings",
        "Settings",
        [
            Figures("server_facts"),
            Table("settings", columns=SETTING),
            Table("extensions"),
            Table("roles"),
            Table("connection_security"),
        ],
        SERVER,
        order=45,
        about="What differs from the defaults, what waits for a restart, which roles there are.",
        per_database=True,
    ),
    Page("differences", "Setting differences", group=SERVER, url_name="setting_differences", order=46),
    Page(
        "forecasts",
        "Forecasts",
        [Table("forecasts", columns=FORECAST)],
        SERVER,
        order=70,
        about="When connections, slots, sequences, transaction numbers and disks reach their limits.",
    ),
    Page(
        "cost",
        "Our own cost",
        [Figures("own_cost"), Figures("statement_store"), Table("statistics_resets")],
        SERVER,
        order=80,
        about="What our monitoring costs this server, and since when its statistics count.",
    ),
    Page("readiness", "Readiness", group=SERVER, url_name="readiness", order=90),
]
