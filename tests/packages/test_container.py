"""The container file and the manifest: what they say suits the program."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from rtpproxy_tw.tools.ctl import make_parser
from rtpproxy_tw.web.openapi import document

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "packaging" / "container" / "Containerfile"

instructions = FILE.read_text().replace("\\\n", " ").splitlines()


def words(name: str) -> list[list[str]]:
    """The words of each instruction of that name."""
    return [line.split()[1:] for line in instructions if line.startswith(f"{name} ")]


def copied() -> list[str]:
    """What is copied from the source tree."""
    return [word for line in words("COPY") if line[0][:2] != "--" for word in line[:-1]]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    """The list of what is sent to the builder names the same."""
    ignored = (FILE.parent / "Containerfile.dockerignore").read_text().split()
    sent = {line[1:] for line in ignored if line.startswith("!")}
    assert ignored[0] == "*"
    assert set(copied()) == sent
    assert all((ROOT / name).exists() for name in sent)


def test_the_relay_is_built_of_what_is_copied(tmp_path: Path) -> None:
    """A file that setup.cfg reads and the container lacks would fail only in an engine."""
    for name in copied():
        if (ROOT / name).is_dir():
            unwanted = shutil.ignore_patterns("__pycache__", "dropin.cache")
            shutil.copytree(ROOT / name, tmp_path / name, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, tmp_path)
    program = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    if "invalid command 'bdist_wheel'" in done.stderr:
        pytest.skip("setuptools 70.1 or later, which builds wheels, is missing")
    assert done.returncode == 0, done.stderr
    assert fnmatch(done.stdout.split()[-1], "rtpproxy_tw-*.whl")


def test_it_runs_as_a_number_that_is_not_root() -> None:
    """A name could not be checked by whoever forbids root."""
    ((user,),) = words("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_the_health_check_is_a_command_the_control_tool_knows() -> None:
    """Else the container would be restarted for ever."""
    (line,) = (line for line in instructions if "rtpproxy-ctl" in line)
    check = re.findall(r'"([^"]*)"', line)
    assert check[0] == "rtpproxy-ctl"
    assert make_parser().parse_args(check[1:]).command == "stats"


def test_options_become_words_and_more_may_be_added() -> None:
    """The entry point's shell splits OPTIONS, and hands the rest on as it came."""
    (line,) = (line for line in instructions if line.startswith("ENTRYPOINT"))
    shell = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
    script = shell[2].replace('\\"', '"').replace("exec rtpproxy-tw", "printf '<%s>'")
    done = subprocess.run(
        ["/bin/sh", "-c", script, shell[3], "--log", "DBUG x"],
        env={"OPTIONS": "-m 40000 -M 40199"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "".join(
        f"<{word}>" for word in [*shlex.split("-f -m 40000 -M 40199 --log"), "DBUG x"]
    )


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is missing")
def test_the_linter_has_no_objection() -> None:
    """Not even a mild one."""
    done = subprocess.run(
        ["hadolint", str(FILE)], capture_output=True, text=True, check=False, timeout=60.0
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_kubernetes_manifest_suits_the_image_and_the_relay() -> None:
    """Its options are taken, its probes are answered, its user is the image's."""
    manifest = yaml.safe_load((ROOT / "packaging/kubernetes/rtpproxy-tw.yaml").read_text())
    pod = manifest["spec"]["template"]
    assert manifest["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    ((user,),) = words("USER")
    ids = pod["spec"]["securityContext"]
    assert f"{ids['runAsUser']}:{ids['runAsGroup']}" == user
    (relay,) = pod["spec"]["containers"]
    options = next(each["value"] for each in relay["env"] if each["name"] == "OPTIONS")
    printed = subprocess.run(
        [
            *(sys.executable, "-m", "rtpproxy_tw.tools.launcher"),
            *options.replace("$(NODE)", "192.0.2.10").split(),
            "--print-config",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert 'listen = ["192.0.2.10"]' in printed
    for probe in ("livenessProbe", "readinessProbe"):
        asked = relay[probe]["httpGet"]
        assert asked["path"] in document("1")["paths"]
        assert f"tcp:{asked['port']}:interface={asked['host']}" in options
    writable = {each["mountPath"] for each in relay["volumeMounts"]}
    assert FILE.read_text().partition("RUNTIME_DIRECTORY=")[2].split()[0] in writable
