"""Finds the probes, operations and pages of every installed app."""

import importlib
import importlib.util
from pathlib import Path

from django.apps import AppConfig, apps


class DbadminConfig(AppConfig):
    """The ground floor."""

    name = "dbadmin"

    def ready(self) -> None:
        """Fill the registries; sign-ins become events."""
        from dbadmin import checks, chosen_columns, operations, pages, probes, signals  # noqa: F401

        for config in apps.get_app_configs():
            folder = Path(config.path)
            if (folder / "probes").is_dir():
                probes.load(config.name, folder / "probes")
            if (folder / "operations").is_dir():
                operations.load(config.name, folder / "operations")
            if (folder / "pages.py").is_file():
                pages.load(importlib.import_module(f"{config.name}.pages").PAGES)
