"""A worker tells what it can do."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """One column."""

    dependencies = [("dbadmin", "0006_reading_state_since")]

    operations = [
        migrations.AddField(
            model_name="workerbeat", name="abilities", field=models.JSONField(blank=True, default=dict)
        )
    ]
