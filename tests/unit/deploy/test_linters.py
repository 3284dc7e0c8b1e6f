"""The manifests and the image in the eyes of the linters of their own fields."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
OLDEST = "1.33"  # the first with hostUsers and procMount by default
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("path", MANIFESTS, ids=[path.stem for path in MANIFESTS])
def test_every_manifest_fits_the_schema_of_its_kind(path, version):
    for data in yaml.safe_load_all(path.read_text()):
        kubernetes_validate.validate(data, version, strict=True)


def test_the_linter_of_manifests_finds_mistakes():
    data = yaml.safe_load((DEPLOY / "kubernetes/deployment.yaml").read_text())
    data["spec"]["template"]["spec"]["hostUser"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(data, OLDEST, strict=True)


def test_the_image_is_as_hadolint_wants_it():
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert linter, "scripts/setup --tests installs it"
    done = subprocess.run([linter, "--no-color", DEPLOY / "container/Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
