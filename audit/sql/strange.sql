-- What stands at the tables of the log and is none of dbadmin's. A partition may have been made in another schema.
with recursive log as (
    select c.oid from pg_catalog.pg_class c where c.relnamespace = 'dbadmin_audit'::regnamespace
        and c.relkind in ('r', 'p', 'v', 'S')
    union
    select i.inhrelid from log join pg_catalog.pg_inherits i on i.inhparent = log.oid
), named as (
    select c.*, n.nspname || '.' || c.relname as name, c.oid::regclass::text as quoted
    from log join pg_catalog.pg_class c using (oid) join pg_catalog.pg_namespace n on n.oid = c.relnamespace
)
select 'critical' as state, c.relname as table_name,
       format('Trigger %s of %s is none of dbadmin''s: it can keep changes out of the log', t.tgname, c.name) as problem,
       format('DROP TRIGGER %I ON %s;', t.tgname, c.quoted) as remedy
from named c join pg_catalog.pg_trigger t on t.tgrelid = c.oid and not t.tgisinternal and t.tgparentid = 0
union all
select 'critical', c.relname,
       format('Rule %s of %s is none of dbadmin''s: it can keep changes out of the log', r.rulename, c.name),
       case c.relkind when 'v' then '' else format('DROP RULE %I ON %s;', r.rulename, c.quoted) end
from named c join pg_catalog.pg_rewrite r on r.ev_class = c.oid
union all
select 'warning', c.relname, format('Row security of %s is on: who reads the log may not see all of it', c.name),
       format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY;', c.quoted)
from named c where c.relrowsecurity
union all
select 'warning', c.relname, format('%s belongs to %s, who may write to it: lines can be forged before they are sealed',
           c.name, pg_get_userbyid(c.relowner)),
       format('ALTER TABLE %s OWNER TO %I;', c.quoted, pg_get_userbyid(n.nspowner))
from named c join pg_catalog.pg_namespace n on n.nspname = 'dbadmin_audit' and n.nspowner <> c.relowner
where c.relkind in ('r', 'p')
union all
select 'warning', c.relname, format('%s is not logged: after a crash of the server it is empty', c.name),
       format('ALTER TABLE %s SET LOGGED;', c.quoted)
from named c where c.relpersistence = 'u' and c.relkind = 'r' and c.relname !~ '^open_text'
union all
select 'warning', 'statement', format('%s may write to %s tables of the log: lines of it can be forged before they are sealed',
           who, count(distinct a.oid)),
       format('REVOKE %s ON ALL TABLES IN SCHEMA dbadmin_audit FROM %s;', string_agg(distinct a.privilege_type, ', '), quoted)
from (
    select c.oid, p.privilege_type, coalesce(r.rolname, 'Everybody') as who,
           coalesce(quote_ident(r.rolname), 'PUBLIC') as quoted
    from named c cross join lateral aclexplode(c.relacl) p left join pg_catalog.pg_roles r on r.oid = p.grantee
    where p.grantee <> c.relowner and p.privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER')
        and c.relkind in ('r', 'p')
) a group by a.who, a.quoted
union all
select 'warning', 'statement', format('%s may call %s functions of capture: lines of the log can be forged before they are sealed',
           who, count(*)),
       format('REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA dbadmin_audit FROM %s;', quoted)
from (
    select coalesce(r.rolname, 'Everybody') as who, coalesce(quote_ident(r.rolname), 'PUBLIC') as quoted
    from pg_catalog.pg_proc f cross join lateral aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) p
    left join pg_catalog.pg_roles r on r.oid = p.grantee
    where f.pronamespace = 'dbadmin_audit'::regnamespace and f.proname ~ '^capture_(row_)?\d+$'
        and p.grantee <> f.proowner
) a group by a.who, a.quoted
union all
select 'warning', 'statement', 'Role dbadmin_audit, which owns the log, may log in', 'ALTER ROLE dbadmin_audit NOLOGIN;'
from pg_catalog.pg_roles where rolname = 'dbadmin_audit' and rolcanlogin
order by 1, 2, 3
