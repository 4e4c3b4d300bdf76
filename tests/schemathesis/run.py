"""Runs schemathesis against a node of the program whose path is given, by the node's own /openapi.json.

It fails on whatever the document does not allow: a server error, an undescribed status or content type, a body that is not of
its schema. The node is new, its limits are out of the way, and its data is thrown away."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

PASSWORD = "correct horse"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SCHEMATHESIS = pathlib.Path(sys.executable).with_name("schemathesis")
# Cases of an operation in each phase, and seconds for one of the runs below, of which the last ones are short.
EXAMPLES = 20
PATIENCE = 120

# They do not end by themselves: there is no whole answer to compare with anything.
ENDLESS = ["EventService_SubscribeEvents", "NotificationService_WatchNotifications", "PresenceService_WatchPresence"]
# Only an admin or a service may: a person would see 403 alone.
PRIVILEGED = ["EventService_PublishEvent", "NotificationService_CreateNotification"]
# After these a token is good for nothing, and whatever follows would see 401 alone: each is tried on an account of its own.
LAST = ["AuthService_Logout", "AuthService_RevokeSession", "UserService_DeleteMe"]

# What the environment names by their common names is not this node's either.
NOT_OURS = ["database_url", "redis_url", "anthropic_api_key", "openai_api_key", "otlp_endpoint"]

SETTINGS = {
    **dict.fromkeys(NOT_OURS, ""),
    # An answer is there at once.
    "echo_interval": "0",
    "access_token_ttl": "3600",
    # What is to be seen is more than 429.
    **dict.fromkeys(
        [
            "requests_per_second",
            "requests_per_minute",
            "messages_per_second",
            "messages_per_minute",
            "messages_per_hour",
            "messages_per_day",
            "sign_in_failures_per_account",
            "sign_in_failures_per_address",
        ],
        "1000000",
    ),
    "admin_username": "root",
    "admin_email": "root@example.com",
    "admin_password": PASSWORD,
}


def post(url: str, body: dict) -> dict:
    headers = {"content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=10) as answer:
        return json.load(answer)


def sign_in(api: str, name: str) -> str:
    return post(f"{api}/auth/login", {"username": name, "password": PASSWORD})["access_token"]


def register(api: str, name: str) -> str:
    post(f"{api}/auth/register", {"username": name, "email": f"{name}@example.com", "password": PASSWORD})
    return sign_in(api, name)


def try_out(address: str, token: str, *selected: str) -> bool:
    """Whether all selected operations do what the document says; always the same cases in the same order."""
    run = [SCHEMATHESIS, "run", f"{address}/openapi.json", "--header", f"Authorization: Bearer {token}", *selected]
    bounds = ["--checks", CHECKS, "--max-examples", str(EXAMPLES), "--generation-deterministic"]
    told = ["--request-timeout", "10", "--continue-on-failure", "--no-color"]
    print(f"\n$ schemathesis run {' '.join(selected)}", flush=True)
    # It keeps what it found beside it; nothing of that is for the next run.
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run([*run, *bounds, *told], cwd=folder, timeout=PATIENCE).returncode == 0


def each(option: str, names: list[str]) -> list[str]:
    return [word for name in names for word in (option, name)]


def try_all(address: str) -> bool:
    api = f"{address}/api/v1"
    people = [*each("--exclude-operation-id", ENDLESS + PRIVILEGED + LAST), "--exclude-tag", "AdminService"]
    fine = [try_out(address, register(api, "ada"), *people)]
    for operation in LAST:
        name = operation.split("_")[1].lower()
        fine.append(try_out(address, register(api, name), "--include-operation-id", operation))
    root = sign_in(api, "root")
    fine.append(try_out(address, root, *each("--include-operation-id", PRIVILEGED)))
    # Last of all: an admin may deactivate everybody but the last admin, itself.
    fine.append(try_out(address, root, "--include-tag", "AdminService"))
    return all(fine)


def main(program: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        ready, log = pathlib.Path(folder, "ready.json"), pathlib.Path(folder, "node.log")
        own = {"data_dir": f"{folder}/data", "grpc_addr": "127.0.0.1:0", "http_addr": "127.0.0.1:0"}
        variables = {f"COLLOQUY_{name.upper()}": value for name, value in (SETTINGS | own).items()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COLLOQUY_")}
        command = [program, "serve", "--ready-file", str(ready)]
        with log.open("wb") as said:
            node = subprocess.Popen(command, env=kept | variables, stdout=subprocess.DEVNULL, stderr=said)
        try:
            deadline = time.monotonic() + 30
            while not ready.exists():
                if node.poll() is not None or time.monotonic() > deadline:
                    print(log.read_text(), file=sys.stderr)
                    return 1
                time.sleep(0.05)
            fine = try_all("http://" + json.loads(ready.read_text())["http"])
            if node.poll() is not None:
                print("the node has ended", file=sys.stderr)
                fine = False
            if not fine:
                errors = [line for line in log.read_text().splitlines() if '"ERROR"' in line or " ERROR " in line]
                print("\n".join(errors[-20:]), file=sys.stderr)
            return 0 if fine else 1
        finally:
            node.terminate()
            node.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
