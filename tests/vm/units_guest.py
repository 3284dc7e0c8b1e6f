"""Puts the units of deploy/ into this machine's systemd as their comments say, and uses the service; run by `tests/vm/run --units`.

    units_guest.py system    as root: a service of a user of its own
    units_guest.py user      as an ordinary user: a service of that user's systemd

Each line of output is one thing that must be so; the exit status is 1 when one is not.
"""

import json
import os
import pwd
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

TREE = Path("/src/sandbox-tree")
URL = "http://127.0.0.1:8000"
PATIENCE_S = 180  # this machine is emulated
failed = []


def check(so, what, detail=""):
    """One thing that must be so."""
    print(f"  {'ok  ' if so else 'FAIL'} {what} {detail if not so else ''}", flush=True)
    if not so:
        failed.append(what)


def run(*words, **options):
    """A command that must succeed; its output."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout.strip()


def until(so, what):
    """Wait for it."""
    begin = time.monotonic()
    while not so():
        if time.monotonic() - begin > PATIENCE_S:
            check(False, what)
            return
        time.sleep(0.5)
    check(True, f"{what} ({time.monotonic() - begin:.0f} s)")


def ask(path, token="", body=None):
    """(status, answer) of a request; (0, what went wrong) when there was none."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{URL}{path}", data, headers), timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except OSError as error:
        return 0, str(error)


def below(user):
    """Processes of this user, and of the host ids that its sandboxes have."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                uid = os.stat(f"/proc/{entry}").st_uid
                name = Path(f"/proc/{entry}/comm").read_text().strip()
            except OSError:
                continue
            if uid == user or 200_000 <= uid < 265_536:
                found.append((int(entry), uid, name))
    return found


def program(place):
    """The command where the unit looks for it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    lines = ["#!/usr/bin/python3", "import sys", f"sys.path.insert(0, {str(TREE)!r})"]
    place.write_text("\n".join(lines) + "\n" + (TREE / "bin" / "sandbox").read_text().partition("\n")[2])
    place.chmod(0o755)


def use(token, control, unit_group):
    """The service as its clients see it."""
    status, answer = ask("/v1/run", token, {"language": "python", "code": "print(6 * 7)"})
    check(status == 200 and answer["run"]["stdout"] == "42\n", "a program in Python runs", (status, answer))
    if status == 200:
        check(answer["run"]["degraded"] == [], "every limit is enforced", answer["run"]["degraded"])
        check(answer["run"]["enforced"]["identity"]["id_map"] != "single", "its host uid is its own", answer["run"]["enforced"]["identity"])
    eater = {"argv": ["sh", "-c", "head -c 200M /dev/zero | tail"], "limits": {"memory": "64MiB"}}
    status, answer = ask("/v1/run", token, eater)
    check(status == 200 and answer["run"]["outcome"] == "memory", "a program that eats memory is ended for it", (status, answer))
    bomb = {"argv": ["sh", "-c", "f() { f | f & }; f; sleep 3"], "limits": {"pids": 20, "wall": "20s"}}
    status, answer = ask("/v1/run", token, bomb)
    check(status == 200, "so has a fork bomb", (status, answer))
    check(ask("/v1/health")[0] == 200, "the service goes on")
    check(ask("/v1/run", "", {"argv": ["true"]})[0] == 401, "nobody runs anything without a token")
    group = control("show", "--property=ControlGroup", "--value", "sandbox")
    check(unit_group in group and (Path("/sys/fs/cgroup") / group.lstrip("/")).is_dir(), "its control group is that of the unit", group)
    return group


def life(control, user, group, token):
    """It ends in good order, and by force; nothing is left of it."""
    control("stop", "sandbox")
    check(ask("/v1/health")[0] == 0, "it can be stopped")
    until(lambda: not [item for item in below(user) if "sandbox" in item[2] or item[1] >= 200_000], "nothing of it is left")
    check(not (Path("/sys/fs/cgroup") / group.lstrip("/")).exists(), "nor its control group")
    control("start", "sandbox")
    until(lambda: ask("/v1/ready")[0] == 200, "it can be started again")
    before = int(control("show", "--property=MainPID", "--value", "sandbox"))
    os.kill(before, 9)
    until(lambda: ask("/v1/ready")[0] == 200 and control("show", "--property=MainPID", "--value", "sandbox") != str(before),
          "after SIGKILL systemd starts it anew")
    check(ask("/v1/run", token, {"argv": ["echo", "x"]})[0] == 200, "and it runs programs")
    check(control("is-active", "sandbox") == "active", "the unit is active")


def system():
    """deploy/systemd/sandbox.service, as its comment says."""
    run("useradd", "--system", "--home-dir", "/var/lib/sandbox", "--shell", "/usr/sbin/nologin", "sandbox")
    run("usermod", "--add-subuids", "200000-265535", "--add-subgids", "200000-265535", "sandbox")
    program(Path("/usr/local/bin/sandbox"))
    Path("/etc/sandbox").mkdir()
    shutil.copy(TREE / "deploy/service.toml", "/etc/sandbox/service.toml")
    shutil.copy(TREE / "deploy/systemd/sandbox.service", "/etc/systemd/system/sandbox.service")
    run("install", "-d", "-o", "sandbox", "-g", "sandbox", "-m", "700", "/var/lib/sandbox")
    words = ["/usr/local/bin/sandbox", "serve", "--config", "/etc/sandbox/service.toml", "token", "add", "alice", "--scope", "run"]
    token = run("setpriv", "--reuid=sandbox", "--regid=sandbox", "--init-groups", *words, cwd="/", env={"HOME": "/var/lib/sandbox", "PATH": "/usr/bin:/bin"})

    def control(*words):
        return run("systemctl", *words)

    control("daemon-reload")
    control("start", "sandbox")
    until(lambda: ask("/v1/ready")[0] == 200, "the unit starts, and the service is ready")
    group = use(token, control, "system.slice/sandbox.service")
    audit = Path("/var/log/sandbox/audit.jsonl")
    check('"event":"run"' in audit.read_text(), "each run is in the audit file")
    audit.rename(audit.with_suffix(".1"))
    control("reload", "sandbox")
    until(audit.exists, "a reload opens the audit file anew")
    life(control, pwd.getpwnam("sandbox").pw_uid, group, token)


def user():
    """deploy/systemd/user/sandbox.service."""
    home = Path.home()
    program(home / ".local/bin/sandbox")
    place = home / ".config/systemd/user/sandbox.service"
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(TREE / "deploy/systemd/user/sandbox.service", place)
    (home / ".config/sandbox").mkdir(parents=True)
    (home / ".config/sandbox/service.toml").write_text("port = 8000\n")
    token = run(str(home / ".local/bin/sandbox"), "serve", "--config", str(home / ".config/sandbox/service.toml"), "token", "add", "me")

    def control(*words):
        return run("systemctl", "--user", *words)

    control("daemon-reload")
    control("start", "sandbox")
    until(lambda: ask("/v1/ready")[0] == 200, "the unit starts, and the service is ready")
    group = use(token, control, "sandbox.service")
    life(control, os.getuid(), group, token)


if __name__ == "__main__":
    try:
        {"system": system, "user": user}[sys.argv[1]]()
    finally:
        if failed or sys.exc_info()[0]:
            who = ["--user"] if os.getuid() else []
            print(subprocess.run(["journalctl", *who, "-u" if not who else "--user-unit", "sandbox", "-n", "40", "--no-pager"], capture_output=True, text=True, check=False).stdout)
    print(f"{len(failed)} of these are not so")
    sys.exit(bool(failed))
