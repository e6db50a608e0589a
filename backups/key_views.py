"""Settings of the keys that backups are encrypted for; a private key is shown once, on paper it is safe."""

from __future__ import annotations

import pyrage
from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from backups.models import BackupKey
from dbadmin.events import record
from dbadmin.models import slug
from dbadmin.permissions import require

RIGHT = "stores.change"


class KeyForm(forms.Form):
    """A new key: made here, or only its public half brought."""

    name = forms.CharField(max_length=63, validators=[slug])
    recipient = forms.CharField(
        required=False,
        label="Public key",
        help_text="age1…, if you made the key yourself. Empty: a new one is made, its secret shown once.",
    )
    keep = forms.BooleanField(
        required=False,
        initial=True,
        label="Keep the private key here, encrypted",
        help_text="Needed to prove and to restore backups from here without bringing the key each time.",
    )

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        if BackupKey.objects.filter(name=name).exists():
            raise forms.ValidationError(f"There is a key {name} already.")
        return name

    def clean_recipient(self) -> str:
        text = str(self.cleaned_data["recipient"]).strip()
        if text:
            try:
                pyrage.x25519.Recipient.from_str(text)
            except pyrage.RecipientError as error:
                says = "This is no public key of age: one begins with age1 and has 62 characters."
                if text.startswith("AGE-SECRET-KEY"):
                    says = "This is a private key. Enter its public half: age-keygen -y prints it."
                raise forms.ValidationError(says) from error
            if BackupKey.objects.filter(recipient=text).exists():
                raise forms.ValidationError("This key is known already.")
        return text


class IdentityForm(forms.Form):
    """Bring the private half of a key back."""

    identity = forms.CharField(
        label="Private key",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="AGE-SECRET-KEY-1…",
    )

    def __init__(self, data: object = None, *, key: BackupKey) -> None:
        super().__init__(data)  # type: ignore[arg-type]
        self.key = key

    def clean_identity(self) -> str:
        text = str(self.cleaned_data["identity"]).strip()
        try:
            public = str(pyrage.x25519.Identity.from_str(text).to_public())
        except pyrage.IdentityError as error:
            raise forms.ValidationError("This is no private key of age.") from error
        if public != self.key.recipient:
            raise forms.ValidationError(f"This is the private half of another key, not of {self.key}.")
        return text


@login_required
@require_http_methods(["GET", "POST"])
def keys(request: HttpRequest) -> HttpResponse:
    """All keys, and the form for a new one."""
    require(request.user, RIGHT)
    form = KeyForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        return _made(request, form)
    context = {"keys": BackupKey.objects.all(), "form": form}
    return render(request, "backups/keys.html", context, status=422 if form.is_bound else 200)


def _made(request: HttpRequest, form: KeyForm) -> HttpResponse:
    name, recipient = form.cleaned_data["name"], form.cleaned_data["recipient"]
    if recipient:
        key = BackupKey.objects.create(name=name, recipient=recipient)
        record(request, "backup-key", f"Added the public key {key}.")
        messages.success(
            request, f"Backups are encrypted for {key} from now on. Its private half is not known here."
        )
        return redirect("backup_keys")
    key, identity = BackupKey.make(name, keep=form.cleaned_data["keep"])
    record(request, "backup-key", f"Made the key {key}.", kept=form.cleaned_data["keep"])
    answer = render(
        request, "backups/key_made.html", {"key": key, "identity": identity, "now": timezone.now()}
    )
    answer["Cache-Control"] = "no-store"
    return answer


@login_required
@require_http_methods(["GET", "POST"])
def change(request: HttpRequest, name: str) -> HttpResponse:
    """Retire a key, use it again, forget its private half, or bring that back."""
    require(request.user, RIGHT)
    key = get_object_or_404(BackupKey, name=name)
    action = request.POST.get("action", "")
    form = IdentityForm(request.POST if action == "bring" else None, key=key)
    if action == "bring" and form.is_valid():
        key.seal(form.cleaned_data["identity"])
        return _changed(request, key, f"The private half of {key} is kept here again.")
    if action == "forget":
        key.sealed_identity = ""
        return _changed(request, key, f"The private half of {key} is no longer kept here.")
    if action == "retire":
        key.retired_at = timezone.now()
        return _changed(request, key, f"New backups are no longer encrypted for {key}.")
    if action == "use":
        key.retired_at = None
        return _changed(request, key, f"Backups are encrypted for {key} again.")
    context = {"key": key, "form": form}
    return render(request, "backups/key.html", context, status=422 if form.errors else 200)


def _changed(request: HttpRequest, key: BackupKey, says: str) -> HttpResponse:
    key.save()
    record(request, "backup-key", says)
    messages.success(request, says)
    return redirect("backup_keys")
