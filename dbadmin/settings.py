"""Settings, read from the environment; every default is the safe one."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from csp.constants import NONE, SELF

BASE_DIR = Path(__file__).resolve().parent.parent


def flag(name: str, default: bool = False) -> bool:
    """Read a yes/no variable."""
    return os.environ.get(name, "1" if default else "0").lower() in {"1", "true", "yes", "on"}


def names(name: str, default: str = "") -> list[str]:
    """Read a list separated by commas."""
    return [item.strip() for item in os.environ.get(name, default).split(",") if item.strip()]


def database(url: str) -> dict[str, Any]:
    """Turn a postgresql:// address into Django's settings of a database."""
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": str(parts.port or ""),
        "CONN_MAX_AGE": 0,
        "OPTIONS": {"application_name": "dbadmin", "connect_timeout": 3, "server_side_binding": True},
    }


DEBUG = flag("DEBUG")
SECRET_KEY = os.environ.get("SECRET_KEY", "")
ALLOWED_HOSTS = names("ALLOWED_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = names("CSRF_TRUSTED_ORIGINS")

# Where people reach dbadmin, for links in notices: https://dbadmin.example.org
PUBLIC_URL = os.environ.get("PUBLIC_URL", "").rstrip("/")

# The sealing keys of secrets at rest, newest first: "2026=<base64 of 32 bytes>,2025=…".
DBADMIN_KEYS = os.environ.get("DBADMIN_KEYS", "")
# The history: days that each tick and that totals are kept, and what all samples may take on disk.
HISTORY_DAYS = {
    "minutes": int(os.environ.get("HISTORY_MINUTES_DAYS", "14")),
    "totals": int(os.environ.get("HISTORY_TOTALS_DAYS", "400")),
}
HISTORY_CAP_BYTES = int(os.environ.get("HISTORY_CAP_BYTES", str(20 * 1024**3)))
# What our own statements may cost a server: 0.01 is one per cent of a core.
OBSERVER_BUDGET = float(os.environ.get("OBSERVER_BUDGET", "0.01"))
# Environments whose servers ask for a second person before anything is destroyed: "production,staging".
DBADMIN_TWO_PEOPLE = names("DBADMIN_TWO_PEOPLE")
# Where local backups, exports and scratch clusters live.
DBADMIN_STATE = Path(os.environ.get("DBADMIN_STATE", BASE_DIR / ".local" / "dbadmin"))
# A time stamp authority (RFC 3161) for the seals of audit logs, and the certificates that vouch for it.
DBADMIN_TSA_URL = os.environ.get("DBADMIN_TSA_URL", "")
DBADMIN_TSA_CA = os.environ.get("DBADMIN_TSA_CA", "")
# Where pgBackRest, Barman and WAL-G leave their JSON for workers to read; empty: no such file is read.
DBADMIN_REPOSITORIES = os.environ.get("DBADMIN_REPOSITORIES", "") or None

DATABASES = {"default": database(os.environ.get("DATABASE_URL", "postgresql:///dbadmin"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
if flag("DBADMIN_POOL"):
    # Only web processes ask for it: a pool inherited through a worker's fork would share sockets.
    DATABASES["default"]["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 8, "timeout": 5}

# The way around a pooler such as PgBouncer, for advisory locks; empty when DATABASE_URL is direct already.
DATABASE_DIRECT_URL = os.environ.get("DATABASE_DIRECT_URL", "")
if not DATABASE_DIRECT_URL:
    # What a session asks for the sixth time is planned no more. A pooler may give it to another session.
    DATABASES["default"]["OPTIONS"]["prepare_threshold"] = 5

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
REDIS_SHORT = REDIS_URL + ("&" if "?" in REDIS_URL else "?") + "socket_timeout=5&socket_connect_timeout=2"
QUEUES = ["operations", "backups", *names("DBADMIN_QUEUES")]
RQ_QUEUES = {
    queue: {"URL": REDIS_SHORT, "SERIALIZER": "rq.serializers.JSONSerializer", "DEFAULT_TIMEOUT": -1}
    for queue in QUEUES
}
# The default cache is the database, so that sign-in never depends on Redis.
CACHES: dict[str, Any] = {
    "default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "dbadmin_cache"},
}

INSTALLED_APPS = [
    "dbadmin",
    "monitoring",
    "backups",
    "audit",
    "maintenance",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_htmx",
    "django_rq",
    "csp",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
]
MIDDLEWARE = [
    "dbadmin.patience.of_requests",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "dbadmin.shared_panels.written_once",
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "dbadmin.addresses.no_nul",
    "dbadmin.addresses.kept_by_nobody",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "dbadmin.addresses.SentTwice",
]
CSRF_FAILURE_VIEW = "dbadmin.addresses.form_of_another_time"
ROOT_URLCONF = "dbadmin.urls"
WSGI_APPLICATION = "dbadmin.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "dbadmin.navigation.navigation",
            ],
        },
    }
]

LANGUAGE_CODE = "en"
TIME_ZONE = os.environ.get("TIME_ZONE", "UTC")
USE_TZ = True
USE_I18N = False
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = Path(os.environ.get("STATIC_ROOT", BASE_DIR / ".local" / "static"))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if flag("STATIC_MANIFEST")
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = not flag("STATIC_MANIFEST")

# A page served over plain HTTP on loopback (the demo) cannot use secure cookies; everything else should.
HTTPS = flag("HTTPS", default=not DEBUG and not flag("DBADMIN_DEMO"))
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_REFERRER_POLICY = "same-origin"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if flag("BEHIND_PROXY") else None
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 12 * 3600
X_FRAME_OPTIONS = "DENY"

OIDC_ISSUER = os.environ.get("OIDC_ISSUER", "")
_oidc_origin = ["{0.scheme}://{0.netloc}".format(urlsplit(OIDC_ISSUER))] if OIDC_ISSUER else []
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF, *_oidc_origin],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "manifest-src": [SELF],
    }
}

SESSION_ENGINE = "dbadmin.sessions"
AUTHENTICATION_BACKENDS = ["dbadmin.accounts.Backend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "fleet"
ACCOUNT_ADAPTER = "dbadmin.accounts.AccountAdapter"
SOCIALACCOUNT_ADAPTER = "dbadmin.accounts.SocialAccountAdapter"
MFA_ADAPTER = "dbadmin.accounts.MFAAdapter"
ACCOUNT_FORMS = {"login": "dbadmin.accounts.LoginForm"}
ACCOUNT_LOGIN_METHODS = {"username"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = int(os.environ.get("REAUTHENTICATION_SECONDS", "300"))
ACCOUNT_RATE_LIMITS = {"login_failed": "10/m/ip,5/5m/key", "login": "60/m/ip"}
ALLAUTH_TRUSTED_PROXY_COUNT = int(os.environ.get("PROXY_COUNT", "0"))
USERSESSIONS_TRACK_ACTIVITY = False
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "dbadmin"
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = DEBUG or flag("DBADMIN_DEMO")
SOCIALACCOUNT_ONLY = False
SOCIALACCOUNT_PROVIDERS = (
    {
        "openid_connect": {
            "APPS": [
                {
                    "provider_id": "oidc",
                    "name": os.environ.get("OIDC_NAME", "Single sign-on"),
                    "client_id": os.environ.get("OIDC_CLIENT_ID", ""),
                    "secret": os.environ.get("OIDC_CLIENT_SECRET", ""),
                    "settings": {"server_url": OIDC_ISSUER},
                }
            ]
        }
    }
    if OIDC_ISSUER
    else {}
)
# Claim "groups" of the identity provider -> role: "dba-team=admin,auditors=auditor".
OIDC_ROLES = dict(item.split("=", 1) for item in names("OIDC_ROLES"))

EMAIL_HOST = os.environ.get("EMAIL_HOST", "localhost")
EMAIL_PORT = int(os.environ.get("EMAIL_PORT", "25"))
DEFAULT_FROM_EMAIL = os.environ.get("EMAIL_FROM", "dbadmin@localhost")

LOG_LEVEL = os.environ.get("LOG_LEVEL", "INFO")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {"psycopg.pool": {"level": "ERROR"}},
}
SILENCED_SYSTEM_CHECKS: list[str] = []
