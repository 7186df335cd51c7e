# The company's app: JupyterHub, whose people sign in at the gateway. Run by: examples/company/run
import os
import sys
import tempfile
from pathlib import Path

c = get_config()  # noqa: F821

GATEWAY = "http://localhost:8080"
HERE = "http://localhost:8000"

# The settings that it has for any OpenID Provider.
c.JupyterHub.authenticator_class = "generic-oauth"
c.GenericOAuthenticator.client_id = "notebooks"
c.GenericOAuthenticator.client_secret = Path("target/company/notebooks-secret").read_text().strip()
c.GenericOAuthenticator.oauth_callback_url = f"{HERE}/hub/oauth_callback"
c.GenericOAuthenticator.authorize_url = f"{GATEWAY}/oauth2/authorize"
c.GenericOAuthenticator.token_url = f"{GATEWAY}/oauth2/token"
c.GenericOAuthenticator.userdata_url = f"{GATEWAY}/oauth2/userinfo"
c.GenericOAuthenticator.scope = ["openid", "profile", "email"]
c.GenericOAuthenticator.username_claim = "preferred_username"
c.GenericOAuthenticator.allow_all = True
c.GenericOAuthenticator.login_service = "your phone"

# For trying it on one machine: everybody's notebooks run as the user who starts this, in a folder that is made anew.
folder = tempfile.mkdtemp(prefix="acme-notebooks-")
c.JupyterHub.spawner_class = "simple"
c.Spawner.cmd = [str(Path(sys.executable).with_name("jupyterhub-singleuser"))]
c.SimpleLocalProcessSpawner.home_dir_template = f"{folder}/{{username}}"
c.Spawner.args = ["--allow-root"] if os.geteuid() == 0 else []
c.JupyterHub.db_url = "sqlite://"
c.JupyterHub.cookie_secret = os.urandom(32)
c.JupyterHub.bind_url = HERE
c.JupyterHub.hub_bind_url = "http://localhost:8081"
c.ConfigurableHTTPProxy.api_url = "http://localhost:8001"
c.ConfigurableHTTPProxy.pid_file = f"{folder}/proxy.pid"
c.ConfigurableHTTPProxy.command = ["examples/company/node_modules/.bin/configurable-http-proxy"]
