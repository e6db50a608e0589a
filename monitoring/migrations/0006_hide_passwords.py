"""Passwords that were kept with changed settings and statements, before they were hidden where they are read."""

from typing import Any

from django.db import migrations

from dbadmin.passwords import without_passwords


def hide(apps: Any, schema_editor: Any) -> None:
    """Each text is written anew only where it told one."""
    for mark in apps.get_model("monitoring", "Mark").objects.filter(kind="setting").iterator():
        told = {
            name: without_passwords(value) if isinstance(value, str) else value
            for name, value in mark.facts.items()
        }
        shown = without_passwords(mark.text)
        if (shown, told) != (mark.text, mark.facts):
            mark.text, mark.facts = shown, told
            mark.save(update_fields=["text", "facts"])
    texts = apps.get_model("monitoring", "Text").objects.filter(text__iregex="passw|secret|token|-pass|://")
    for each in texts.iterator():
        shown = without_passwords(each.text)
        if shown != each.text:
            each.text = shown
            each.save(update_fields=["text"])
    # Read anew within minutes: held against it, what was hidden since would pass for a change, and be told by it.
    apps.get_model("dbadmin", "StoredReading").objects.filter(probe="settings").delete()


class Migration(migrations.Migration):
    """Data only."""

    dependencies = [("monitoring", "0005_limits_of_a_column"), ("dbadmin", "0007_worker_abilities")]

    operations = [migrations.RunPython(hide, migrations.RunPython.noop)]
