-- title:    Publications
-- about:    What this database offers to logical subscribers.
-- empty:    This database publishes nothing.
-- scope:    database
-- judged:   primary
-- warning:  unidentified_count > 0
-- column operations:         what is sent to subscribers
-- column unidentified_count: published tables whose rows cannot be told apart: an UPDATE or DELETE of them fails
select
    publication.pubname                                               as name,
    pg_catalog.pg_get_userbyid(publication.pubowner)                  as role,
    publication.puballtables                                          as all_tables,
    pg_catalog.concat_ws(', ',
        case when publication.pubinsert then 'insert' end,
        case when publication.pubupdate then 'update' end,
        case when publication.pubdelete then 'delete' end,
        case when publication.pubtruncate then 'truncate' end)        as operations,
    count(published.oid)                                              as tables_count,
    count(published.oid) filter (where
        (publication.pubupdate or publication.pubdelete)
        and (published.relreplident = 'n'
            or published.relreplident = 'd' and not exists (
                select from pg_catalog.pg_index identity
                where identity.indrelid = published.oid and identity.indisprimary)))
                                                                      as unidentified_count
from pg_catalog.pg_publication publication
left join (
    select listed.pubname, relation.oid, relation.relreplident
    from pg_catalog.pg_publication_tables listed
    join pg_catalog.pg_namespace space on space.nspname = listed.schemaname
    join pg_catalog.pg_class relation on relation.relnamespace = space.oid and relation.relname = listed.tablename
) published using (pubname)
group by publication.oid, publication.pubname, publication.pubowner, publication.puballtables,
    publication.pubinsert, publication.pubupdate, publication.pubdelete, publication.pubtruncate
order by publication.pubname
