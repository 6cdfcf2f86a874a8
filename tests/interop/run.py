#!/usr/bin/env python3
# Copyright the cosaga authors. Distributed under the Boost Software License, Version 1.0.
"""Webhooks between the library and implementations of the Standard Webhooks specification that are not ours, both ways, over HTTP.

The packages are installed into a folder of the build, in one version each. Exit code 77, for "skipped", if neither can be.

Usage: run.py PROGRAM FOLDER
"""
import base64
import os
import pathlib
import secrets
import shutil
import subprocess
import sys

VERSIONS = {"npm": "standardwebhooks@1.1.1", "pip": "standardwebhooks==1.1.0"}
HERE = pathlib.Path(__file__).resolve().parent
SKIPPED = 77


def install(command, folder, wanted):
    """True when the package is there, from now or before."""
    if (folder / "installed").exists():
        return True
    if not shutil.which(command[0]):
        print(f"interop: {command[0]} is not here")
        return False
    folder.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run([*command, wanted], cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    except subprocess.TimeoutExpired:
        print(f"interop: {wanted} was not installed in time")
        return False
    if done.returncode != 0:
        print(f"interop: {wanted} cannot be installed: {done.stderr.strip()[-500:]}")
        return False
    (folder / "installed").touch()
    return True


def peers(folder):
    """The commands of the implementations that are here, with their environments."""
    npm = folder / "npm"
    if shutil.which("node") and install(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(npm)], npm, VERSIONS["npm"]):
        yield "npm", ["node", str(HERE / "peer.js")], {"NODE_PATH": str(npm / "node_modules")}
    pip = folder / "pip"
    if install([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(pip / "site")], pip, VERSIONS["pip"]):
        yield "pip", [sys.executable, str(HERE / "peer.py")], {"PYTHONPATH": str(pip / "site")}


def make_secret():
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def exchange(server, client, env):
    """Starts a server, which prints its port, and runs a client against it."""
    with subprocess.Popen(server, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        try:
            port = running.stdout.readline().strip()
            return subprocess.run(client(port), env=env, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        finally:
            running.stdin.close() # which ends it


def main(program, folder):
    failures = found = 0
    for name, command, extra in peers(pathlib.Path(folder)):
        found += 1
        env = {**os.environ, **extra}
        ours, old = make_secret(), make_secret()
        cases = {
            "delivered to it": ([*command, "receive", ours], lambda port: [program, "send", f"http://127.0.0.1:{port}/", ours], 0),
            "delivered to it while the secret is replaced":
                ([*command, "receive", old], lambda port: [program, "send", f"http://127.0.0.1:{port}/", ours, old], 0),
            "refused by it with another secret":
                ([*command, "receive", old], lambda port: [program, "send", f"http://127.0.0.1:{port}/", ours], 9),
            "received from it": ([program, "receive", ours], lambda port: [*command, "send", port, ours], 0),
            "received from it while the secret is replaced": ([program, "receive", ours, old], lambda port: [*command, "send", port, old], 0),
        }
        for what, (server, client, expected) in cases.items():
            done = exchange(server, client, env)
            right = done.returncode == expected
            print(f"interop: {name}: {what}: {'ok' if right else f'FAILED ({done.returncode}): {done.stderr}'}")
            failures += not right
    if not found:
        print("interop: SKIPPED: neither the npm nor the PyPI package standardwebhooks can be installed here")
        return SKIPPED
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
