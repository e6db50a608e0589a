"""Take out of the store the passwords that settings told before they were hidden."""

from django.db import migrations

from dbadmin.concealing import in_written


def conceal(apps, schema_editor):
    """Of changes that were seen; what a server's settings are now is read anew within minutes."""
    marks = apps.get_model("monitoring", "Mark").objects.filter(kind="setting")
    for mark in marks.iterator():
        text = in_written(mark.text)
        if text != mark.text:
            mark.text = text
            mark.facts = {name: in_written(str(value)) for name, value in mark.facts.items()}
            mark.save(update_fields=["text", "facts"])
    apps.get_model("dbadmin", "StoredReading").objects.filter(probe="settings").delete()


class Migration(migrations.Migration):
    dependencies = [
        ("monitoring", "0005_limits_of_a_column"),
        ("dbadmin", "0007_worker_abilities"),
    ]

    operations = [migrations.RunPython(conceal, migrations.RunPython.noop)]
