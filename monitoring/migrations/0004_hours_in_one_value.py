from django.db import migrations

# An hour of a source is one long value: PostgreSQL reads the wanted part of it without the rest.
TABLE = """
drop table monitoring_hour;
create table monitoring_hour (
    source_id int4 not null, layout_id int4 not null, starts_at timestamptz not null, part int2 not null,
    firsts int4[] not null, ends int4[] not null, body bytea not null,
    primary key (source_id, starts_at, part)
) partition by range (starts_at);
alter table monitoring_hour alter column body set storage external;
"""


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0003_alerts")]

    operations = [migrations.RunSQL(TABLE, migrations.RunSQL.noop)]
