-- title:    Settings
-- about:    Every setting, those that were changed from the default first.
-- empty:    The server shows no setting.
-- scope:    instance
-- needs:    pg_monitor
-- every:    15m
-- key:      name
-- warning:  pending_count > 0
-- column pending_count: 1 when the file says otherwise and a restart is needed
-- column value:         what a new session of our role gets, as SHOW writes it, passwords hidden; empty where each client chooses
-- column source:        where the value comes from; empty where our own session has set another
-- column file:          file and line that set it; empty unless this role may know
with unit (name, of_time, size) as (
    values ('B', false, 1), ('kB', false, 1024), ('MB', false, 1048576), ('GB', false, 1073741824), ('TB', false, 1099511627776),
        ('us', true, 0.001), ('ms', true, 1), ('s', true, 1000), ('min', true, 60000), ('h', true, 3600000), ('d', true, 86400000)
)
select
    name,
    words[1]                                                as value,
    words[2]                                                as built_in,
    -- What the server finds out for itself, from the socket or its database, nobody has changed.
    case when source in ('default', 'override') then false
        when source <> 'client' then coalesce(in_force, '') <> coalesce(default_val, '') end as is_changed,
    pending_restart::int                                    as pending_count,
    case when source <> 'session' then source when in_force is not distinct from default_val then 'default' end as source,
    context                                                 as changeable_by,
    category,
    sourcefile || ':' || sourceline                         as file,
    short_desc                                              as meaning
from (
    -- Our own session sets limits for itself: what others get is what a reset would give.
    select *, case
            when name = 'ssl_passphrase_command' and setting <> '' then '***' -- it may be an echo of the passphrase
            when source = 'session' then reset_val when source <> 'client' then setting end as in_force,
        -- Permissions are shown in octal digits, but their default is kept in decimal ones.
        case when name in ('unix_socket_permissions', 'log_file_mode', 'data_directory_mode')
            then '0' || boot_val::int / 64 || boot_val::int / 8 % 8 || boot_val::int % 8
            else boot_val end as default_val,
        -- Some are counted in blocks: 8kB.
        coalesce(substring(unit from '^[0-9]+')::numeric, 1) as steps, substring(unit from '[a-zA-Z]+$') as unit_name
    from pg_catalog.pg_settings
) as setting
cross join lateral (
    -- In the largest unit that leaves no fraction; 0 and -1 have none.
    select array_agg(coalesce((
        select pg_catalog.trim_scale(given.amount * base.size / larger.size) || larger.name
        from unit base
        join unit larger using (of_time)
        where base.name = unit_name and given.amount > 0 and given.amount * base.size % larger.size = 0
        order by larger.size desc
        limit 1), given.word) order by given.place) as words
    from (
        select place, word, case when unit_name is not null then word::numeric * steps end as amount
        from unnest(array[in_force, default_val]) with ordinality given (word, place)
    ) given
) shown
order by pending_restart desc, is_changed desc nulls last, category, name
