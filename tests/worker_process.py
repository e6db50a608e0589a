"""A worker or a scheduler as its own process, which knows the trial operations as well."""

import sys

import django

if __name__ == "__main__":
    django.setup()
    from django.core.management import call_command

    from tests.trial_operations import register

    register()
    call_command(*sys.argv[1:])
