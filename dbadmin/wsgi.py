"""The entry point of web servers."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dbadmin.settings")
inside = get_wsgi_application()

from dbadmin.door import at_the_door  # noqa: E402 - settings first

application = at_the_door(inside)
