import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("dbadmin", "0001_initial"), ("monitoring", "0001_history")]

    operations = [
        migrations.DeleteModel("Statement"),
        migrations.CreateModel(
            "Statement",
            [
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("database_id", models.BigIntegerField()),
                ("query_id", models.BigIntegerField()),
                ("first_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "server",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="statements",
                        to="dbadmin.server",
                    ),
                ),
                (
                    "text",
                    models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to="monitoring.text"),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("server", "query_id", "database_id"), name="one_statement"
                    )
                ]
            },
        ),
        migrations.CreateModel(
            "Name",
            [
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("kind", models.CharField(max_length=10)),
                ("number", models.BigIntegerField()),
                ("name", models.CharField(max_length=63)),
                (
                    "server",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="names", to="dbadmin.server"
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("server", "kind", "number"), name="one_name")]
            },
        ),
    ]
