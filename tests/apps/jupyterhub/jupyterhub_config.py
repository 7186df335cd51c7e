# JupyterHub with oauthenticator's GenericOAuthenticator. ISSUER, CLIENT_SECRET, PORT, HUB_PORT, PROXY_PORT, PROXY and BASIC come
# from the environment.
import os

c = get_config()  # noqa: F821
issuer = os.environ["ISSUER"]
here = f"http://localhost:{os.environ['PORT']}"

# ---- What an administrator writes: docs/apps/jupyterhub.md
c.JupyterHub.authenticator_class = "generic-oauth"
c.GenericOAuthenticator.client_id = "notebooks"
c.GenericOAuthenticator.client_secret = os.environ["CLIENT_SECRET"]
c.GenericOAuthenticator.oauth_callback_url = f"{here}/hub/oauth_callback"
c.GenericOAuthenticator.authorize_url = f"{issuer}/oauth2/authorize"
c.GenericOAuthenticator.token_url = f"{issuer}/oauth2/token"
c.GenericOAuthenticator.userdata_url = f"{issuer}/oauth2/userinfo"
c.GenericOAuthenticator.scope = ["openid", "profile", "email"]
c.GenericOAuthenticator.username_claim = "email"
c.GenericOAuthenticator.allow_all = True
c.GenericOAuthenticator.login_service = "your phone"
c.GenericOAuthenticator.logout_redirect_url = (
    f"{issuer}/oauth2/logout?client_id=notebooks&post_logout_redirect_uri={here}/hub/login"
)
# ----

c.GenericOAuthenticator.basic_auth = os.environ["BASIC"] == "1"
c.JupyterHub.bind_url = here
c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{os.environ['HUB_PORT']}"
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.db_url = "sqlite://"
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{os.environ['PROXY_PORT']}"
c.ConfigurableHTTPProxy.command = os.environ["PROXY"].split()
