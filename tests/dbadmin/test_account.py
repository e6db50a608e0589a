"""People sign in, confirm themselves and keep second factors, under the house's strict policy."""

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

AUTHENTICATOR = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}
PAGES = (
    "/accounts/2fa/",
    "/accounts/2fa/totp/activate/",
    "/accounts/2fa/webauthn/add/",
    "/accounts/2fa/recovery-codes/generate/",
    "/accounts/sessions/",
    "/accounts/password/change/",
    "/accounts/logout/",
)


def confirm(page) -> None:
    """Answer the question who sits here, when it is asked."""
    if "reauthenticate" in page.url:
        page.fill("[name=password]", "admin is allowed in")
        page.click("main button.primary")
        page.wait_for_url(lambda url: "reauthenticate" not in url)


@pytest.fixture
def page(page_as):
    opened = page_as("admin")
    session = opened.context.new_cdp_session(opened)
    session.send("WebAuthn.enable")
    session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
    return opened


def test_a_passkey_is_added_and_then_opens_the_door(page):
    page.goto("/accounts/2fa/webauthn/add/")
    confirm(page)
    page.check("[name=passwordless]")
    page.click("#mfa_webauthn_add")
    page.wait_for_url(lambda url: "/webauthn/add/" not in url)

    page.goto("/accounts/logout/")
    page.click("main button.primary")
    page.goto("/accounts/login/")
    page.click("#passkey_login")
    page.wait_for_selector("[popovertarget=account]")
    assert "admin" in page.inner_text("[popovertarget=account]")


def test_a_password_opens_the_door_and_a_wrong_one_says_so(page_as, user_as):
    user_as("viewer")
    page = page_as("")
    page.goto("/accounts/login/?next=/runs/")
    page.fill("#id_username", "viewer")
    page.fill("[name=password]", "guess")
    page.click("main button.primary")
    assert "The username and/or password you specified are not correct." in page.inner_text("main")
    page.fill("[name=password]", "viewer is allowed in")
    page.click("main button.primary")
    page.wait_for_url("**/runs/")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_the_pages_of_an_account(page_as, axe, scheme):
    page = page_as("admin", width=390, scheme=scheme)
    found = {}
    for path in PAGES:
        page.goto(path)
        confirm(page)
        width = page.evaluate("document.documentElement.scrollWidth")
        found[path] = [*axe(page), *([f"{width} px wide"] if width > 390 else [])]
    assert found == {path: [] for path in PAGES}


def test_the_door_itself_is_accessible(page_as, axe):
    page = page_as("")
    page.goto("/accounts/login/")
    assert axe(page) == []
