"""What schemathesis cannot know of the gateway under test: who is signed in, which clients there are, what a stranger is told."""

import os

import requests
import schemathesis
from schemathesis.specs.openapi import checks

# Unknown, expired and foreign tickets are one answer, 404, so that nobody learns which tickets there are (RFC 9110 §15.5.5).
# A caller without the right credentials is refused with it as with 401 or 403.
checks.AUTH_REJECTION_STATUSES = frozenset(checks.AUTH_REJECTION_STATUSES) | {404}

# A parameter or field may hold only what is registered, which a description that is the same for everybody cannot say.
REGISTERED = {
    "client_id": ["web"],
    "logo": ["web"],
}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "query" and parameter["name"] in REGISTERED:
                    parameter["schema"] = {"enum": REGISTERED[parameter["name"]]}
                # A long poll of a live ticket waits for as long as it is asked to, and the tester for 10 s at most.
                if parameter["name"] == "wait":
                    parameter["schema"]["maximum"] = 2
    # Over http, the cookie's name has no prefix.
    raw_schema["components"]["securitySchemes"]["login"]["name"] = "scangate-login"
    for name in ("CreateTicket", "Scan"):
        properties = raw_schema["components"]["schemas"][name]["properties"]
        for field in properties.keys() & REGISTERED.keys():
            properties[field] = {"enum": REGISTERED[field] + [None]}
    # With it a ticket has no other field, and only a request of a registered app is one. No schema can say so.
    del raw_schema["components"]["schemas"]["CreateTicket"]["properties"]["authorization"]
    offered = raw_schema["components"]["schemas"]["CreateTicket"]["properties"]["release"]
    offered["items"] = {"enum": ["name"]}


def call(method, path, token=None, **body):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = requests.request(method, os.environ["GATEWAY"] + path, json=body or None, headers=headers, timeout=10)
    answer.raise_for_status()
    return answer.json()


def sign_in():
    return call("POST", "/demo/sign-in", name="Ada")["access_token"]


@schemathesis.auth().apply_to(path_regex="^/v1/tickets")
class Person:
    """Somebody whom the demo signs in."""

    def get(self, case, context):
        return sign_in()

    def set(self, case, data, context):
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.auth().apply_to(path_regex="^/v1/session")
class Browser:
    """The browser of somebody whom the demo signs in."""

    def get(self, case, context):
        answer = requests.post(os.environ["GATEWAY"] + "/demo/sign-in", json={"name": "Ada"}, timeout=10)
        answer.raise_for_status()
        return answer.cookies["scangate-login"]

    def set(self, case, data, context):
        case.cookies["scangate-login"] = data


@schemathesis.auth().apply_to(path="/v1/verify")
class Recipient:
    """Somebody who has a JWT of this gateway."""

    def get(self, case, context):
        person = sign_in()
        ticket = call("POST", "/v1/tickets", binding="bearer")
        for action in ("scan", "confirm"):
            call("POST", f"{ticket['poll']}/{action}", person)
        return call("GET", ticket["poll"], ticket["ticket_secret"])["token"]["access_token"]

    def set(self, case, data, context):
        case.headers["Authorization"] = f"Bearer {data}"
