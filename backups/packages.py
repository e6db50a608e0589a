"""Which package of the operating system brings an extension, so that a refusal can name it."""

from __future__ import annotations

#: Of the distributions and of apt.postgresql.org; {} is the major version.
_DEBIAN = {
    "age": "postgresql-{}-age",
    "hll": "postgresql-{}-hll",
    "hypopg": "postgresql-{}-hypopg",
    "ip4r": "postgresql-{}-ip4r",
    "jsonb_plperl": "postgresql-plperl-{}",
    "orafce": "postgresql-{}-orafce",
    "pg_cron": "postgresql-{}-cron",
    "pg_hint_plan": "postgresql-{}-pg-hint-plan",
    "pg_partman": "postgresql-{}-partman",
    "pg_repack": "postgresql-{}-repack",
    "pgaudit": "postgresql-{}-pgaudit",
    "pglogical": "postgresql-{}-pglogical",
    "pgrouting": "postgresql-{}-pgrouting",
    "pgtap": "postgresql-{}-pgtap",
    "plperl": "postgresql-plperl-{}",
    "plperlu": "postgresql-plperl-{}",
    "plpython3u": "postgresql-plpython3-{}",
    "pltcl": "postgresql-pltcl-{}",
    "pltclu": "postgresql-pltcl-{}",
    "postgis": "postgresql-{}-postgis-3",
    "postgis_raster": "postgresql-{}-postgis-3",
    "postgis_topology": "postgresql-{}-postgis-3",
    "semver": "postgresql-{}-semver",
    "vector": "postgresql-{}-pgvector",
}
#: What PostgreSQL's own source brings: on Debian with the server, on Red Hat in a package of its own.
_CONTRIB = """
    adminpack amcheck autoinc bloom btree_gin btree_gist citext cube dblink dict_int dict_xsyn earthdistance
    file_fdw fuzzystrmatch hstore insert_username intagg intarray isn lo ltree moddatetime pageinspect
    pg_buffercache pg_freespacemap pg_logicalinspect pg_overexplain pg_prewarm pg_stat_statements pg_surgery
    pg_trgm pg_visibility pg_walinspect pgcrypto pgrowlocks pgstattuple postgres_fdw refint seg sslinfo tablefunc
    tcn tsm_system_rows tsm_system_time unaccent uuid-ossp xml2"""


def of_extension(name: str, major: int) -> str:
    """The command that installs it where we know it; else what to look for. major: of the server."""
    if name in _CONTRIB.split():
        return f"sudo apt install postgresql-{major}  # {name}; on Red Hat: dnf install postgresql{major}-contrib"
    if name in _DEBIAN:
        return f"sudo apt install {_DEBIAN[name].format(major)}  # {name}"
    return f"# {name}: the package of it for PostgreSQL {major}; on a managed service, its list of extensions"
