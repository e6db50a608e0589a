-- title:    Sequences
-- about:    Sequences that can run out, because they or the column that they feed are narrower than bigint.
-- empty:    No sequence can run out.
-- scope:    database
-- judged:   primary
-- needs:    pg_read_all_data
-- every:    1h
-- timeout:  10s
-- key:      schema, sequence
-- warning:  used_ratio > 0.7
-- critical: used_ratio > 0.9
-- column used_ratio:   of the smaller of its own limit and that of the column's type
-- column left_count:   values that are left
-- column limit_from:   what ends first: the sequence or the type of the column
-- column last_value:   empty when no value was taken yet, or while the sequence is locked
with narrow as (
    select
        sequence.seqrelid,
        sequence.seqmin, sequence.seqmax, sequence.seqincrement,
        owner.oid as table_id, part.attname as column,
        case part.atttypid when 21 then 32767 when 23 then 2147483647 else sequence.seqmax end as column_max
    from pg_catalog.pg_sequence sequence
    left join pg_catalog.pg_depend link
        on link.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and link.objid = sequence.seqrelid
        and link.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and link.deptype in ('a', 'i')
    left join pg_catalog.pg_class owner on owner.oid = link.refobjid
    left join pg_catalog.pg_attribute part on part.attrelid = link.refobjid and part.attnum = link.refobjsubid
    where sequence.seqincrement > 0 and not sequence.seqcycle
        and (sequence.seqmax <= 2147483647 or part.atttypid in (21, 23))
), taken as (
    select
        narrow.*,
        least(narrow.seqmax, narrow.column_max) as most,
        -- Reading a sequence takes a lock that ALTER SEQUENCE refuses: those in use that way are left out.
        case when not exists (
                select from pg_catalog.pg_locks lock
                where lock.locktype = 'relation' and lock.relation = narrow.seqrelid
                    and lock.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
            then pg_catalog.pg_sequence_last_value(narrow.seqrelid) end as last
    from narrow
)
select
    space.nspname                                                               as schema,
    relation.relname                                                            as sequence,
    (taken.last - taken.seqmin + 1)::float8 / nullif(taken.most - taken.seqmin + 1, 0)::float8 as used_ratio,
    (taken.most - taken.last) / taken.seqincrement                              as left_count,
    taken.last::text                                                            as last_value,
    taken.most::text                                                            as limit_value,
    case when taken.column_max < taken.seqmax then 'column' else 'sequence' end as limit_from,
    owner_space.nspname || '.' || owner.relname || '.' || taken.column          as feeds
from taken
join pg_catalog.pg_class relation on relation.oid = taken.seqrelid
join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
left join pg_catalog.pg_class owner on owner.oid = taken.table_id
left join pg_catalog.pg_namespace owner_space on owner_space.oid = owner.relnamespace
where relation.relpersistence <> 't' and space.nspname not in ('pg_catalog', 'information_schema')
order by used_ratio desc nulls last, schema, sequence
