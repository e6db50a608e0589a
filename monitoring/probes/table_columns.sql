-- title:    Columns
-- about:    Types, defaults, and what the last analyze found in them.
-- empty:    There is nothing of this name that has columns.
-- scope:    database
-- params:   schema, table
-- column default:        also how a generated column is made
-- column null_ratio:     of the rows; empty without an analyze, or without the right that the remedy gives
-- column distinct_count: different values, estimated; empty like the share of nulls
-- column width_bytes:    of a value in the mean
-- column kept_in:        where long values go: plain and main stay in the row, extended is compressed first
-- column remedy:         what lets us see what the last analyze found in it; empty when we may
select
    detail.attname                                                              as column,
    pg_catalog.format_type(detail.atttypid, detail.atttypmod)                   as type,
    not detail.attnotnull or exists (
        select from pg_catalog.pg_constraint demand where demand.conrelid = relation.oid and demand.contype = 'n'
            and not demand.convalidated and detail.attnum = any(demand.conkey)) as may_be_null,
    case when detail.attidentity <> '' then 'identity'
        || case detail.attidentity when 'a' then ', always' else ', unless a value is given' end
        when detail.attgenerated <> '' then 'generated: ' || pg_catalog.pg_get_expr(given.adbin, given.adrelid)
        -- Without the table's number, for with it the table would be opened and a lock awaited.
        else pg_catalog.pg_get_expr(given.adbin, 0) end                         as default,
    statistic.null_frac::float8                                                 as null_ratio,
    case when statistic.n_distinct >= 0 then statistic.n_distinct
        else -statistic.n_distinct * nullif(greatest(relation.reltuples, 0), 0) end::int8 as distinct_count,
    statistic.avg_width::int8                                                   as width_bytes,
    case detail.attstorage when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main'
        when 'x' then 'extended' end                                            as kept_in,
    pg_catalog.col_description(relation.oid, detail.attnum)                     as comment,
    case when relation.relkind <> 'v' and not pg_catalog.has_column_privilege(relation.oid, detail.attnum, 'select')
        then pg_catalog.format('GRANT SELECT ON %%I.%%I TO %%I;', space.nspname, relation.relname, current_user) end as remedy
from pg_catalog.pg_class relation
join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
join pg_catalog.pg_attribute detail
    on detail.attrelid = relation.oid and detail.attnum > 0 and not detail.attisdropped
left join pg_catalog.pg_attrdef given on given.adrelid = relation.oid and given.adnum = detail.attnum
left join pg_catalog.pg_stats statistic
    on statistic.schemaname = space.nspname and statistic.tablename = relation.relname
    and statistic.attname = detail.attname
    and statistic.inherited = (relation.relkind = 'p')
where space.nspname = %(schema)s::text and relation.relname = %(table)s::text
    and relation.relkind in ('r', 'p', 'm', 'v', 'f')
order by detail.attnum
