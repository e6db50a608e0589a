-- title:    Duplicate indexes
-- about:    Indexes whose work another index of the same table already does.
-- empty:    No index repeats another.
-- scope:    database
-- every:    1h
-- timeout:  10s
-- series:   rows, sum(size_bytes)
-- actions:  drop_index(schema, index)
-- column grade:       exact, covered by unique, prefix (its columns begin the other's), include (the other holds more columns)
-- column covered_by:  the index that stays
-- column scans_total: how often the redundant one was used; the other would have served
with candidate as materialized (
    select
        detail.indexrelid, detail.indrelid, detail.indnatts, detail.indnkeyatts, detail.indisunique, detail.indisprimary,
        detail.indisreplident, detail.indkey, detail.indclass, detail.indcollation, detail.indoption, relation.relam,
        relation.relpages, relation.relnamespace, relation.relname, detail.indkey[0] as first_key,
        -- The stored trees are compared without the places in the source where they were written. No lock is needed.
        regexp_replace(detail.indexprs::text, ':(location|list_start|list_end) -?\d+', '', 'g') as expressions,
        regexp_replace(detail.indpred::text, ':(location|list_start|list_end) -?\d+', '', 'g')  as predicate,
        false                                                                   as nulls_not_distinct
    from pg_catalog.pg_index detail
    join pg_catalog.pg_class relation on relation.oid = detail.indexrelid
    where relation.oid >= 16384 and relation.relpersistence <> 't' and not relation.relispartition
        and detail.indisvalid and detail.indislive and not detail.indisexclusion
), pair as (
    select
        less.*,
        more.indexrelid as other, more.relname as other_name, more.indisunique as other_unique,
        more.indnatts as other_natts, more.indnkeyatts as other_nkeyatts
    from candidate less
    join candidate more
        on more.indrelid = less.indrelid and more.first_key = less.first_key and more.indexrelid <> less.indexrelid
    where more.relam = less.relam
        and more.indnkeyatts >= less.indnkeyatts
        and (more.indnkeyatts = less.indnkeyatts or less.relam = 403)
        and more.predicate is not distinct from less.predicate
        and (more.expressions is not distinct from less.expressions
            or less.expressions is null and 0 <> all ((less.indkey::int2[])[0:less.indnkeyatts - 1]))
        and (more.indkey::int2[])[0:less.indnkeyatts - 1] = (less.indkey::int2[])[0:less.indnkeyatts - 1]
        and (more.indclass::oid[])[0:less.indnkeyatts - 1] = (less.indclass::oid[])[0:less.indnkeyatts - 1]
        and (more.indcollation::oid[])[0:less.indnkeyatts - 1] = (less.indcollation::oid[])[0:less.indnkeyatts - 1]
        and (more.indoption::int2[])[0:less.indnkeyatts - 1] = (less.indoption::int2[])[0:less.indnkeyatts - 1]
        and (less.indkey::int2[])[less.indnkeyatts:] <@ more.indkey::int2[]
        -- What enforces something is only redundant beside an index that enforces the very same.
        and not less.indisprimary and not less.indisreplident
        and (not less.indisunique
            or more.indisunique and more.indnkeyatts = less.indnkeyatts
                and more.nulls_not_distinct = less.nulls_not_distinct)
        and not exists (select from pg_catalog.pg_constraint where conindid = less.indexrelid)
        -- Of two equal ones the later goes, unless only the other one enforces something.
        and (more.indnkeyatts > less.indnkeyatts or more.indnatts > less.indnatts
            or more.indisunique and not less.indisunique
            or more.indisprimary or more.indisreplident
            or exists (select from pg_catalog.pg_constraint where conindid = more.indexrelid)
            or more.indexrelid < less.indexrelid)
), best as (
    select distinct on (indexrelid) *
    from pair
    order by indexrelid, other_nkeyatts, other_natts, other_unique desc, other
)
select
    space.nspname                                                             as schema,
    parent.relname                                                            as table,
    best.relname                                                              as index,
    best.other_name                                                           as covered_by,
    case
        when best.other_nkeyatts > best.indnkeyatts then 'prefix'
        when best.other_natts > best.indnatts then 'include'
        when best.other_unique and not best.indisunique then 'covered by unique'
        else 'exact'
    end                                                                       as grade,
    (best.relpages * pg_catalog.current_setting('block_size')::int8)::int8    as size_bytes,
    pg_catalog.pg_stat_get_numscans(best.indexrelid)                          as scans_total,
    (select string_agg(part.attname, ', ' order by part.attnum)
     from pg_catalog.pg_attribute part where part.attrelid = best.indexrelid) as columns,
    (select string_agg(part.attname, ', ' order by part.attnum)
     from pg_catalog.pg_attribute part where part.attrelid = best.other)      as covered_by_columns
from best
join pg_catalog.pg_namespace space on space.oid = best.relnamespace
join pg_catalog.pg_class parent on parent.oid = best.indrelid
where space.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
order by size_bytes desc, schema, "index"
