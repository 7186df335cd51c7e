"""An app in Flask that signs people in by Authlib. ISSUER, CLIENT_SECRET and PORT come from the environment."""
import os

from authlib.integrations.flask_client import OAuth
from flask import Flask, jsonify, redirect, session, url_for

app = Flask(__name__)
app.secret_key = os.urandom(32)
oauth = OAuth(app)
oauth.register(
    "login",
    server_metadata_url=f"{os.environ['ISSUER']}/.well-known/openid-configuration",
    client_id="app",
    client_secret=os.environ["CLIENT_SECRET"],
    client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256"},
)


@app.route("/")
def home():
    user = session.get("user")
    return jsonify(user) if user else redirect(url_for("login"))


@app.route("/login")
def login():
    return oauth.login.authorize_redirect(url_for("callback", _external=True))


@app.route("/callback")
def callback():
    token = oauth.login.authorize_access_token()
    session["user"] = {"id_token": token["userinfo"], "userinfo": oauth.login.userinfo(token=token)}
    return redirect("/")


app.run("localhost", int(os.environ["PORT"]))
