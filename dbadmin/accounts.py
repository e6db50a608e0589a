"""How people come in: no open sign-up, roles from the identity provider, second factors sealed."""

import json
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.auth_backends import AuthenticationBackend
from allauth.account.forms import LoginForm as BaseLoginForm
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from dbadmin import secrets
from dbadmin.by_hand import all_of, read
from dbadmin.models import Grant, Role
from dbadmin.permissions import know_grants

MFA_PLACE = "mfa_authenticator.data"
#: Every page asks who it is and what they may do.
PERSON = """
select {}, (
    select coalesce(json_agg(grants), '[]')
    from (select {} from dbadmin_grant where user_id = auth_user.id) grants
)::text as held
from auth_user where id = %s
"""


class Backend(AuthenticationBackend):  # type: ignore[misc]
    """allauth's; whoever is signed in is read together with the grants, by one statement."""

    def get_user(self, user_id: int) -> Any:
        """The person of a session, None when gone or locked out."""
        user = get_user_model()
        found: Any = next(iter(read(user, PERSON.format(all_of(user), all_of(Grant)), [user_id])), None)
        if found is None or not self.user_can_authenticate(found):
            return None
        know_grants(found, [Grant(**each) for each in json.loads(found.held)])
        return found


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Accounts are made by an admin, or by the identity provider."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Nobody signs up alone."""
        return False


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Secrets of second factors are sealed at rest."""

    def encrypt(self, text: str) -> str:
        """Seal."""
        return secrets.seal(text, MFA_PLACE)

    def decrypt(self, encrypted_text: str) -> str:
        """Unseal."""
        return secrets.unseal(encrypted_text, MFA_PLACE)


class SocialAccountAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """Whoever has a mapped group at the identity provider may enter, with the mapped roles and no others."""

    def roles(self, login: SocialLogin) -> set[str]:
        """Roles by the claim "groups" and the setting OIDC_ROLES."""
        claims: dict[str, Any] = login.account.extra_data
        groups = claims.get("groups") or (claims.get("userinfo") or {}).get("groups") or []
        return {
            settings.OIDC_ROLES[group] for group in groups if settings.OIDC_ROLES.get(group) in Role.values
        }

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """A first sign-in makes the account when a group is mapped."""
        return bool(self.roles(sociallogin))

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """At each sign-in the roles follow the provider."""
        roles = self.roles(sociallogin)
        if not roles:
            raise ImmediateHttpResponse(self.denied())
        if sociallogin.is_existing:
            self.sync(sociallogin.user, roles)

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> Any:
        """Keep the new account, with its roles."""
        user = super().save_user(request, sociallogin, form)
        self.sync(user, self.roles(sociallogin))
        return user

    @staticmethod
    def sync(user: Any, roles: set[str]) -> None:
        """Grants for every server are exactly the provider's; grants per server stay."""
        everywhere = Grant.objects.filter(user=user, server=None, environment="", tag="")
        everywhere.exclude(role__in=roles).delete()
        for role in roles:
            everywhere.get_or_create(user=user, role=role, server=None, environment="", tag="")

    @staticmethod
    def denied() -> Any:
        """What a person without a mapped group sees."""
        from django.http import HttpResponseForbidden
        from django.template.loader import render_to_string

        reason = PermissionDenied("Your account has no group that may use dbadmin. Ask its administrator.")
        return HttpResponseForbidden(render_to_string("403.html", {"exception": str(reason)}))


class LoginForm(BaseLoginForm):  # type: ignore[misc]
    """The first field is called username, as password managers expect."""

    def add_prefix(self, field_name: str) -> str:
        """allauth calls it login."""
        return str(super().add_prefix("username" if field_name == "login" else field_name))
