-- title:    Extensions
-- about:    What is installed in this database, and what the server could bring up to date.
-- empty:    No extension is installed.
-- scope:    database
-- judged:   primary
-- every:    1h
-- key:      extension
-- warning:  behind_count > 0
-- column behind_count: 1 when the server offers another version than the installed one
-- column remedy:       brings it up to date
select
    installed.extname                                                            as extension,
    installed.extversion                                                         as version,
    available.default_version                                                    as offered,
    case when available.default_version is not null
        then (installed.extversion <> available.default_version)::int end        as behind_count,
    space.nspname                                                                as schema,
    case when installed.extversion <> available.default_version
        then pg_catalog.format('ALTER EXTENSION %I UPDATE;', installed.extname) end as remedy,
    available.comment                                                            as meaning
from pg_catalog.pg_extension installed
join pg_catalog.pg_namespace space on space.oid = installed.extnamespace
left join pg_catalog.pg_available_extensions available on available.name = installed.extname
order by behind_count desc nulls last, extension
