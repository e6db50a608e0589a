"""The entry point of web servers."""

import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dbadmin.settings")
inside = get_wsgi_application()

from dbadmin.door import at_the_door  # noqa: E402 - settings first

application = at_the_door(inside)

# What is loaded by now stays: workers forked from here share its memory, since no collection of theirs writes to it.
# A page makes thousands of objects that die with it; looking for circles among each 700 of them finds none.
gc.collect()
gc.freeze()
gc.set_threshold(10_000)
