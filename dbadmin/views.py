"""The pages of the ground floor."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse


@login_required
def fleet(request: HttpRequest) -> HttpResponse:
    return HttpResponse("fleet")


@login_required
def server(request: HttpRequest, server_name: str) -> HttpResponse:
    return HttpResponse(server_name)
