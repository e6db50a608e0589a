"""Write the references of probes and operations into docs/."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from dbadmin import reference


class Command(BaseCommand):
    """manage.py reference."""

    help = "Write docs/probes.md and docs/operations.md from the registries."

    def handle(self, *args: Any, **options: Any) -> None:
        """Both files."""
        folder = settings.BASE_DIR / "docs"
        (folder / "probes.md").write_text(reference.probes_page())
        (folder / "operations.md").write_text(reference.operations_page())
        self.stdout.write("docs/probes.md and docs/operations.md are written.")
