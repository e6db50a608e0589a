-- title:    Sequences
-- about:    Sequences that can run out: they or the column that they feed end before bigint does.
-- empty:    No sequence can run out.
-- scope:    database
-- judged:   primary
-- needs:    pg_read_all_data
-- every:    1h
-- timeout:  10s
-- key:      schema, sequence
-- warning:  used_ratio > 0.7
-- critical: used_ratio > 0.9
-- column used_ratio:   of all its values until it ends, or the column's type does
-- column left_count:   values that are left
-- column limit_from:   what ends first: the sequence or the type of the column
-- column last_value:   empty when no value was taken yet, or while the sequence is locked
with narrow as (
    select
        sequence.seqrelid, sequence.seqmin, sequence.seqmax, sequence.seqincrement,
        sequence.seqincrement < 0 as goes_down,
        owner.oid as table_id, part.attname as column,
        case when sequence.seqincrement < 0 then sequence.seqmin else sequence.seqmax end as own_end,
        -- A column ends where its type does: smallint at 2^15, integer at 2^31.
        case part.atttypid when 21 then 32768 when 23 then 2147483648 end
            * case when sequence.seqincrement < 0 then -1 else 1 end
            - case when sequence.seqincrement < 0 then 0 else 1 end as column_end
    from pg_catalog.pg_sequence sequence
    left join pg_catalog.pg_depend link
        on link.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and link.objid = sequence.seqrelid
        and link.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and link.deptype in ('a', 'i')
    left join pg_catalog.pg_class owner on owner.oid = link.refobjid
    left join pg_catalog.pg_attribute part on part.attrelid = link.refobjid and part.attnum = link.refobjsubid
    where not sequence.seqcycle and (
        case when sequence.seqincrement < 0 then sequence.seqmin > -9223372036854775808
            else sequence.seqmax < 9223372036854775807 end
        or part.atttypid in (21, 23))
), taken as (
    select
        narrow.*,
        case when narrow.goes_down then greatest(narrow.own_end, narrow.column_end)
            else least(narrow.own_end, narrow.column_end) end as ends,
        -- Reading a sequence takes a lock that ALTER SEQUENCE refuses: those in use that way are left out.
        case when not exists (
                select from pg_catalog.pg_locks lock
                where lock.locktype = 'relation' and lock.relation = narrow.seqrelid
                    and lock.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
            then pg_catalog.pg_sequence_last_value(narrow.seqrelid) end as last
    from narrow
), measured as (
    -- In numeric, for the distance between two ends of bigint is no bigint.
    select
        taken.*,
        abs(taken.last::numeric - case when taken.goes_down then taken.seqmax else taken.seqmin end) + 1 as used,
        abs(taken.ends::numeric - case when taken.goes_down then taken.seqmax else taken.seqmin end) + 1 as whole,
        case when taken.goes_down then taken.last::numeric - taken.ends else taken.ends::numeric - taken.last end as away
    from taken
)
select
    space.nspname                                                               as schema,
    relation.relname                                                            as sequence,
    (measured.used / measured.whole)::float8                                    as used_ratio,
    case when measured.last is not null
        then least(div(greatest(measured.away, 0), abs(measured.seqincrement::numeric)), 9223372036854775807)::int8 end
                                                                                as left_count,
    measured.last::text                                                         as last_value,
    measured.ends::text                                                         as limit_value,
    case when measured.ends <> measured.own_end then 'column' else 'sequence' end as limit_from,
    owner_space.nspname || '.' || owner.relname || '.' || measured.column       as feeds
from measured
join pg_catalog.pg_class relation on relation.oid = measured.seqrelid
join pg_catalog.pg_namespace space on space.oid = relation.relnamespace
left join pg_catalog.pg_class owner on owner.oid = measured.table_id
left join pg_catalog.pg_namespace owner_space on owner_space.oid = owner.relnamespace
where relation.relpersistence <> 't' and space.nspname not in ('pg_catalog', 'information_schema')
order by used_ratio desc nulls last, schema, sequence
