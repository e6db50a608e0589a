-- title:    Blocking tree
-- about:    Who holds up whom: each holder first, below it those who wait for it.
-- empty:    No session waits for a lock.
-- scope:    instance
-- needs:    pg_monitor
-- every:    30s
-- series:   rows, max(waiters_count)
-- actions:  cancel_backend(pid), terminate_backend(pid)
-- column root_pid:            the session at the root of this tree; 0 stands for a prepared transaction
-- column depth:               0 holds and waits for nobody
-- column waiters_count:       sessions that stand below it in the tree
-- column blocked_by:          all whom it waits for, also those before it in the queue
-- column transaction_seconds: how long its transaction is open
with recursive waiting as materialized (
    select pid, pg_catalog.pg_blocking_pids(pid) as blockers
    from pg_catalog.pg_stat_activity
    where wait_event_type = 'Lock'
), edge as materialized (
    select distinct waiting.pid, blocker
    from waiting, unnest(waiting.blockers) blocker
), reach as (
    -- No paths here: with a long queue their number would double with every session.
    select edge.blocker as pid, edge.blocker as root, 0 as depth
    from edge
    where not exists (select from edge above where above.pid = edge.blocker)
    union
    select edge.pid, reach.root, reach.depth + 1
    from reach
    join edge on edge.blocker = reach.pid
    where reach.depth < 20
), place as materialized (
    select root, pid, min(depth) as depth from reach group by root, pid
), branch as materialized (
    select place.root, place.pid, place.depth, min(above.pid) as parent
    from place
    left join edge on edge.pid = place.pid
    left join place above
        on above.root = place.root and above.pid = edge.blocker and above.depth = place.depth - 1
    group by place.root, place.pid, place.depth
), tree as (
    select root, pid, depth, array[pid] as path from branch where depth = 0
    union all
    select branch.root, branch.pid, branch.depth, tree.path || branch.pid
    from tree
    join branch on branch.root = tree.root and branch.parent = tree.pid and branch.depth = tree.depth + 1
)
select
    tree.root                                                                  as root_pid,
    tree.depth,
    tree.pid,
    (select count(*) from tree below
     where below.root = tree.root and below.path[tree.depth + 1] = tree.pid and below.depth > tree.depth)
                                                                               as waiters_count,
    (select blockers from waiting where waiting.pid = tree.pid)                as blocked_by,
    session.datname                                                            as database,
    session.usename                                                            as role,
    session.application_name                                                   as application,
    case when tree.pid = 0 then 'prepared transaction' else session.state end  as state,
    session.wait_event_type || ': ' || session.wait_event                      as waits_for,
    extract(epoch from pg_catalog.clock_timestamp() - session.xact_start)::float8   as transaction_seconds,
    extract(epoch from pg_catalog.clock_timestamp() - session.state_change)::float8 as state_seconds,
    session.query
from tree
left join pg_catalog.pg_stat_activity session on session.pid = tree.pid
order by (select count(*) from place below where below.root = tree.root) desc, tree.root, tree.path
