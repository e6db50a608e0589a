"""manage.py add_store shelf --directory /var/backups, or add_store cloud --bucket b --endpoint https://…"""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from backups import store_rules
from backups.models import BackupKey, Store


class Command(BaseCommand):
    """Add or change a store; it is tried before it is kept."""

    help = "Add a store for backups, or change it. S3 keys: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name")
        parser.add_argument(
            "--directory", default="", help="a directory; relative: below the state directory"
        )
        parser.add_argument(
            "--its-disk",
            action="store_true",
            help="take what is there now for its disk: that was lost or replaced",
        )
        parser.add_argument("--bucket", default="")
        parser.add_argument("--endpoint", default="")
        parser.add_argument("--region", default="us-east-1")
        parser.add_argument("--prefix", default="")
        parser.add_argument("--access-key-from-env", default="AWS_ACCESS_KEY_ID", metavar="VARIABLE")
        parser.add_argument("--secret-key-from-env", default="AWS_SECRET_ACCESS_KEY", metavar="VARIABLE")
        parser.add_argument("--encryption", default="", help="AES256 or aws:kms")
        parser.add_argument("--key", default="", help="also make a key of this name, unless there is one")

    def handle(self, *args: Any, **options: Any) -> None:
        store = Store.objects.filter(name=options["name"]).first() or Store(name=options["name"])
        was = store.where if store.pk else ""
        for name in ("directory", "bucket", "endpoint", "region", "prefix", "encryption"):
            setattr(store, name, options[name])
        store.kind = Store.Kind.S3 if options["bucket"] else Store.Kind.LOCAL
        if store.kind == Store.Kind.S3:
            for name in ("access_key", "secret_key"):
                store.seal(name, os.environ.get(options[f"{name}_from_env"], ""))
        is_its_disk = store.where != was or options["its_disk"]
        wrong = [finding for finding in store_rules.tried(store, is_its_disk) if not finding.ok]
        if wrong:
            raise CommandError(f"{wrong[0].what}: {wrong[0].says}")
        if is_its_disk:
            store.put_mark()
        store.tested_at, store.test_problem = timezone.now(), ""
        store.save()
        self.stdout.write(f"Store {store} is {store.where}.")
        if options["key"] and not BackupKey.objects.filter(name=options["key"]).exists():
            key, _identity = BackupKey.make(options["key"], keep=True)
            self.stdout.write(f"Key {key} made, its private half is kept sealed; public half {key.recipient}")
