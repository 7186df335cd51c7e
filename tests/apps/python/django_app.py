"""A site in Django that signs people in by mozilla-django-oidc. ISSUER, CLIENT_SECRET, PORT, ALGORITHM and DATABASE come from
the environment."""
import os

import django
from django.conf import settings

issuer = os.environ["ISSUER"]
settings.configure(
    DEBUG=True,
    SECRET_KEY=os.urandom(32).hex(),
    ALLOWED_HOSTS=["localhost"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DATABASE"]}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "mozilla_django_oidc",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    AUTHENTICATION_BACKENDS=["mozilla_django_oidc.auth.OIDCAuthenticationBackend"],
    LOGIN_URL="/oidc/authenticate/",
    LOGIN_REDIRECT_URL="/",
    OIDC_RP_CLIENT_ID="app",
    OIDC_RP_CLIENT_SECRET=os.environ["CLIENT_SECRET"],
    OIDC_RP_SIGN_ALGO=os.environ["ALGORITHM"],
    OIDC_RP_SCOPES="openid email",
    OIDC_USE_PKCE=True,
    OIDC_OP_AUTHORIZATION_ENDPOINT=f"{issuer}/oauth2/authorize",
    OIDC_OP_TOKEN_ENDPOINT=f"{issuer}/oauth2/token",
    OIDC_OP_USER_ENDPOINT=f"{issuer}/oauth2/userinfo",
    OIDC_OP_JWKS_ENDPOINT=f"{issuer}/.well-known/jwks.json",
)
django.setup()

from django.contrib.auth.decorators import login_required  # noqa: E402
from django.core.management import execute_from_command_line  # noqa: E402
from django.http import JsonResponse  # noqa: E402
from django.urls import include, path  # noqa: E402


@login_required
def home(request):
    return JsonResponse({"email": request.user.email})


urlpatterns = [path("", home), path("oidc/", include("mozilla_django_oidc.urls"))]
execute_from_command_line(["django", "migrate", "--verbosity", "0"])
execute_from_command_line(["django", "runserver", f"localhost:{os.environ['PORT']}", "--noreload"])
