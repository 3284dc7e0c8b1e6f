"""What is deployed is held against the program: command lines, settings, paths, and the grants that sandboxes need."""

from __future__ import annotations

import configparser
import re
import shlex
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from sandbox.cli.serve import serve
from sandbox.service import config
from sandbox.service.app import make_app
from tests.support.require import requires

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
UNITS = {"system": DEPLOY / "systemd/sandbox.service", "user": DEPLOY / "systemd/user/sandbox.service"}
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
DOCKERFILE = (DEPLOY / "container/Dockerfile").read_text()
UNCONFINED = {"seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined", "writable-cgroups=true"}


class _Unit(configparser.RawConfigParser):
    optionxform = staticmethod(str)  # names of directives are case-sensitive


def unit(kind):
    parsed = _Unit(strict=True, delimiters=("=",), comment_prefixes=("#",), interpolation=None)
    parsed.read(UNITS[kind])
    return parsed


def manifest(name):
    return yaml.safe_load((DEPLOY / "kubernetes" / f"{name}.yaml").read_text())


def pod():
    return manifest("deployment")["spec"]["template"]["spec"]


def container():
    (found,) = pod()["containers"]
    return found


def compose():
    return yaml.safe_load((DEPLOY / "container/compose.yaml").read_text())["services"]["sandbox"]


def routes():
    """The paths of the application, as OpenAPI has them."""
    return set(make_app(config.Config(no_auth=True)).openapi()["paths"])


def check_command(words):
    """`sandbox serve --config FILE`, as the command line itself parses it."""
    program, command, *rest = words
    assert Path(program).name == "sandbox"
    assert command == serve.name
    context = serve.make_context("serve", list(rest))
    assert context.params["path"].endswith("service.toml")


@pytest.mark.parametrize("kind", UNITS)
def test_a_unit_starts_a_command_that_there_is(kind):
    check_command(shlex.split(unit(kind)["Service"]["ExecStart"]))


@requires("systemd-analyze")
@pytest.mark.parametrize("kind", UNITS)
def test_a_unit_is_one_for_systemd(kind, tmp_path):
    text = re.sub(r"^(ExecStart=)\S+/sandbox ", r"\g<1>/bin/true ", UNITS[kind].read_text(), flags=re.MULTILINE)
    path = tmp_path / "sandbox.service"
    path.write_text(text)
    command = ["systemd-analyze", *(["--user"] if kind == "user" else []), "--man=no", "verify", path]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    path.write_text(text.replace("[Service]", "[Service]\nNoSuchDirective=yes"))
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environment)
    assert "NoSuchDirective" in done.stderr, "the check finds what is wrong"


@pytest.mark.parametrize("kind", UNITS)
def test_a_unit_delegates_and_stops_as_the_service_does(kind):
    service = unit(kind)["Service"]
    assert set(service["Delegate"].split()) >= {"cpu", "memory", "pids"}
    assert service["OOMPolicy"] == "continue"
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"].removesuffix("s")) > config.Config(no_auth=True).drain_seconds
    assert "HUP" in service["ExecReload"]


@pytest.mark.parametrize("kind", UNITS)
def test_a_unit_has_nothing_that_makes_sandboxes_impossible(kind):
    service = unit(kind)["Service"]
    names = """NoNewPrivileges SystemCallFilter RestrictNamespaces RestrictAddressFamilies RestrictRealtime RestrictSUIDSGID
        LockPersonality MemoryDenyWriteExecute SystemCallArchitectures PrivateDevices ProtectClock ProtectHostname
        ProtectKernelModules ProtectKernelLogs ProtectKernelTunables ProtectProc ProcSubset ProtectControlGroups PrivateUsers
        OOMScoreAdjust DynamicUser"""
    assert not set(names.split()) & set(service)


def test_the_system_unit_is_an_ordinary_user_with_a_read_only_system():
    service = unit("system")["Service"]
    assert service["User"] not in ("", "root")
    assert (service["ProtectSystem"], service["ProtectHome"], service["UMask"]) == ("strict", "yes", "0077")
    assert set(service["CapabilityBoundingSet"].split()) == {"CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_ADMIN"}


def settings():
    files = [DEPLOY / "service.toml", DEPLOY / "container/service.toml"]
    return {str(path.relative_to(DEPLOY)): path.read_text() for path in files} | {
        "configmap": manifest("configmap")["data"]["service.toml"]
    }


@pytest.mark.parametrize("name", ["service.toml", "container/service.toml", "configmap"])
def test_settings_are_taken_by_the_service_and_ask_for_a_token(name, tmp_path):
    path = tmp_path / "service.toml"
    path.write_text(settings()[name])
    loaded = config.load(str(path))
    assert not loaded.no_auth
    assert loaded.tokens_file is not None
    assert loaded.audit_file is not None
    assert not loaded.allow_degraded, "weaker stand-ins are a choice of the operator"
    assert config.is_loopback(loaded.host) == (name == "service.toml")


def test_the_system_unit_has_the_directories_that_its_settings_name():
    service = unit("system")["Service"]
    loaded = config.load(str(DEPLOY / "service.toml"))
    assert loaded.tokens_file.parent == Path("/var/lib") / service["StateDirectory"]
    assert loaded.audit_file.parent == Path("/var/log") / service["LogsDirectory"]


def instructions():
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line.strip()]


def test_the_image_copies_what_there_is_and_starts_what_there_is():
    assert {name for name, _ in instructions()} <= {
        "FROM", "RUN", "COPY", "ENV", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "CMD", "ENTRYPOINT"
    }  # fmt: skip
    ignored = (DEPLOY / "container/Dockerfile.dockerignore").read_text().splitlines()
    for name, rest in instructions():
        if name == "FROM":
            assert ":" in rest
            assert ":latest" not in rest
        if name == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(source.startswith(line[1:]) for line in ignored if line.startswith("!")), source
    last = dict(instructions())
    check_command(yaml.safe_load(last["CMD"]))
    assert yaml.safe_load(last["ENTRYPOINT"])[-1].endswith("/entrypoint.sh")
    assert re.search(r"http://127\.0\.0\.1:8000(/\S+?)'", last["HEALTHCHECK"])[1] in routes()
    assert last["EXPOSE"] == "8000"


def test_the_entry_point_is_a_script_that_becomes_an_ordinary_user(tmp_path):
    path = DEPLOY / "container/entrypoint.sh"
    assert path.stat().st_mode & stat.S_IXUSR
    subprocess.run(["sh", "-n", path], check=True, timeout=60)
    last = path.read_text().rstrip().splitlines()[-1]
    assert last == 'exec setpriv --reuid=sandbox --regid=sandbox --clear-groups --inh-caps=-all --no-new-privs "$@"'


def test_the_container_is_granted_what_it_needs_and_no_more():
    service = compose()
    assert set(service["security_opt"]) == UNCONFINED | {"no-new-privileges=true"}
    assert "privileged" not in service
    assert service["cap_drop"] == ["ALL"]
    assert set(service["cap_add"]) == {"CHOWN", "SETGID", "SETUID"}
    assert service["cgroup"] == "private"
    assert service["read_only"] is True
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["mem_limit"] == service["memswap_limit"]
    assert int(service["stop_grace_period"].removesuffix("s")) > config.Config(no_auth=True).drain_seconds
    assert (DEPLOY / "container" / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).exists()


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_has_its_kind_and_its_place(path):
    found = yaml.safe_load(path.read_text())
    assert {"apiVersion", "kind", "metadata"} <= set(found)
    if found["kind"] not in ("Namespace", "RuntimeClass"):
        assert found["metadata"]["namespace"] == manifest("namespace")["metadata"]["name"]


def test_the_pod_is_granted_what_it_needs_and_no_more():
    spec = pod()
    assert spec["hostUsers"] is False
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert spec["securityContext"]["seccompProfile"] == spec["securityContext"]["appArmorProfile"] == {"type": "Unconfined"}
    assert spec["runtimeClassName"] == manifest("runtimeclass")["metadata"]["name"]
    assert spec["terminationGracePeriodSeconds"] > config.Config(no_auth=True).drain_seconds
    context = container()["securityContext"]
    assert context["procMount"] == "Unmasked"
    assert "privileged" not in context
    for one in [*spec["containers"], *spec["initContainers"]]:
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert one["securityContext"]["capabilities"]["drop"] == ["ALL"]
    assert set(context["capabilities"]["add"]) == {"CHOWN", "SETGID", "SETUID"}
    assert container()["resources"]["limits"]["memory"]
    assert not any("hostPath" in volume for volume in spec["volumes"])


def test_probes_ask_at_doors_that_there_are():
    known = routes()
    for name, path in (("startupProbe", "/v1/health"), ("livenessProbe", "/v1/health"), ("readinessProbe", "/v1/ready")):
        asked = container()[name]["httpGet"]
        assert asked["path"] == path
        assert path in known
        assert asked["port"] in {port["name"] for port in container()["ports"]}


def test_names_of_the_manifests_fit_together():
    labels = manifest("deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest("deployment")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("service")["spec"]["selector"] == labels
    assert manifest("networkpolicy")["spec"]["podSelector"]["matchLabels"] == labels
    assert manifest("service")["spec"]["ports"][0]["targetPort"] == container()["ports"][0]["name"]
    volumes = {volume["name"] for volume in pod()["volumes"]}
    for one in [*pod()["containers"], *pod()["initContainers"]]:
        assert {mount["name"] for mount in one["volumeMounts"]} <= volumes
    settings_of_pod = next(volume for volume in pod()["volumes"] if volume["name"] == "settings")
    assert settings_of_pod["configMap"]["name"] == manifest("configmap")["metadata"]["name"]


def test_the_network_lets_callers_in_and_nothing_out():
    spec = manifest("networkpolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["egress"] == []
    assert [port["port"] for rule in spec["ingress"] for port in rule["ports"]] == ["http"]
    assert all(peer.get("podSelector") for rule in spec["ingress"] for peer in rule["from"]), "only pods with the label"


def test_links_of_the_readme_lead_somewhere():
    for page in (DEPLOY / "README.md", ROOT / "docs/service-operations.md", ROOT / "docs/client.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
