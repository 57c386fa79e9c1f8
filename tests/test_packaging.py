"""What pip installs is all there, and Twisted finds the service from wherever it is run."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

SOURCES = (
    *("rtpproxy_tw", "twisted", "tests", "docs", "bench", "changelog.d", "packaging"),
    *("setup.cfg", "setup.py", "pyproject.toml", "tox.ini", "MANIFEST.in"),
    *("README.rst", "CONTRIBUTING.rst", "CHANGELOG.rst", "SECURITY.md", "LICENSE"),
)
"""What a clone has, apart from what only its own tools read."""


def can_build() -> bool:
    """Whether setuptools makes wheels by itself."""
    try:
        major, minor = metadata.version("setuptools").split(".")[:2]
    except metadata.PackageNotFoundError:
        return False
    return (int(major), int(minor)) >= (70, 1)


pytestmark = pytest.mark.skipif(
    not can_build(),
    reason="setuptools 70.1 or later, which builds the package, is missing",
)


@dataclass(frozen=True)
class Built:
    """The package in all its forms, and an environment of its own where the wheel is installed."""

    sdist: Path
    wheel: Path
    editable: Path
    bin: Path
    library: Path


def run(*command: str | Path, cwd: Path) -> str:
    """What ``command`` prints. It gets no hint where this source tree is."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, kind: str, into: Path) -> Path:
    """Build an ``sdist``, ``wheel`` or ``editable``, with nothing fetched from anywhere."""
    into.mkdir()
    program = f"from setuptools import build_meta; build_meta.build_{kind}({str(into)!r})"
    run(sys.executable, "-c", program, cwd=source)
    (made,) = into.iterdir()
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("packaging")
    source = folder / "source"
    source.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "_build", "results", "dropin.cache")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=unwanted)
        else:
            shutil.copy(ROOT / name, source)
    wheel = build(source, "wheel", folder / "wheel")
    home = folder / "venv"
    venv.create(home, symlinks=True)
    scheme = "venv" if "venv" in sysconfig.get_scheme_names() else "posix_prefix"  # up to 3.10
    library = Path(sysconfig.get_path("purelib", scheme, {"base": str(home)}))
    # The dependencies are borrowed from here; lines of further .pth files, such as one that leads
    # to this source tree, are not.
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (library / "borrowed.pth").write_text("".join(f"{path}\n" for path in sorted(paths)))
    run(
        *(sys.executable, "-m", "pip", "--python", home / "bin" / "python"),
        *("install", "-q", "--no-deps", "--no-index", "--force-reinstall", wheel),
        cwd=folder,
    )
    return Built(
        sdist=build(source, "sdist", folder / "sdist"),
        wheel=wheel,
        editable=build(source, "editable", folder / "editable"),
        bin=home / "bin",
        library=library,
    )


def names(archive: Path) -> set[str]:
    """The files in a wheel, or in an sdist without its top folder."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return set(wheel.namelist())
    with tarfile.open(archive) as sdist:
        return {name.partition("/")[2] for name in sdist.getnames()}


def test_the_wheel_has_every_module_and_the_mark_of_its_types(built: Built) -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "rtpproxy_tw").rglob("*.py")}
    assert modules <= names(built.wheel)
    assert "rtpproxy_tw/py.typed" in names(built.wheel)


def test_the_wheel_has_the_plugin_and_nothing_that_is_twisteds_own(built: Built) -> None:
    assert {name for name in names(built.wheel) if name.startswith("twisted/")} == {
        "twisted/plugins/rtpproxy_plugin.py"
    }


def test_the_wheel_has_nothing_that_only_this_source_tree_needs(built: Built) -> None:
    tops = {name.partition("/")[0] for name in names(built.wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"rtpproxy_tw", "twisted"}


OF_THE_REPOSITORY = {".gitignore", ".ci/audit", ".ci/run"}
"""What only a clone needs."""


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no clone, so no list of files")
def test_nothing_that_is_committed_is_forgotten(built: Built) -> None:
    """Templates, pages, programs for the kernel, units, tests and what they read."""
    listed = set(run("git", "ls-files", cwd=ROOT).splitlines())
    there = {name for name in listed if (ROOT / name).is_file()}
    assert there - names(built.sdist) - OF_THE_REPOSITORY == set()
    data = {
        name
        for name in there
        if name.startswith("rtpproxy_tw/") and Path(name).suffix not in (".c", ".h")
    }
    assert data - names(built.wheel) == set()


def test_the_sdist_has_what_its_own_tests_need(built: Built) -> None:
    wanted = {"tests/fakes.py", "tests/__init__.py", "tests/e2e/homer.cfg", "docs/conf.py"}
    wanted |= {"README.rst", "LICENSE", "CONTRIBUTING.rst", "tox.ini", "pyproject.toml"}
    wanted |= {"twisted/plugins/rtpproxy_plugin.py", "bench/__main__.py"}
    wanted |= {"packaging/examples/kamailio.cfg"}
    assert wanted <= names(built.sdist)


@pytest.mark.skipif(find_spec("twine") is None, reason="twine is missing")
def test_the_package_index_would_take_it(built: Built) -> None:
    """Its metadata are valid, and README.rst can be shown; warnings count."""
    told = run(
        *(sys.executable, "-m", "twine", "check", "--strict", built.wheel, built.sdist),
        cwd=built.bin,
    )
    assert told.count("PASSED") == 2


INDEX_PAGE: Callable[[str, str, str], str] = runpy.run_path(str(ROOT / "setup.py"))["index_page"]


def test_the_page_of_the_index_names_no_file_that_is_not_there(built: Built) -> None:
    """Pictures and links of README.rst are beside it in the repository alone."""
    with zipfile.ZipFile(built.wheel) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        page = wheel.read(name).decode()
    assert "A relay for the media of SIP calls" in page
    assert "image::" not in page
    assert not re.search(r"<(docs/|[A-Z]+\.)", page)


def test_a_release_shows_the_pictures_of_its_version_on_the_index() -> None:
    text = (ROOT / "README.rst").read_text()
    page = INDEX_PAGE(text, "https://git.example.org/relay", "1.2.3")
    for kind, pattern in (("raw", r"image:: (\S+)"), ("blob", r"`[^`<>]+\s<([^`<>]+)>`_")):
        before, after = re.findall(pattern, text), re.findall(pattern, page)
        assert len(before) > 1
        at = f"https://git.example.org/relay/{kind}/1.2.3/"
        assert after == [at + path for path in before]
        assert all((ROOT / path).is_file() for path in before)


def test_an_editable_install_is_a_path_where_twisted_looks_for_plugins(built: Built) -> None:
    links = [name for name in names(built.editable) if name.endswith(".pth")]
    assert len(links) == 1
    with zipfile.ZipFile(built.editable) as wheel:
        link = wheel.read(links[0]).decode().strip()
    assert Path(link).name == "source"
    assert not [name for name in names(built.editable) if name.endswith("_finder.py")]


def test_twistd_lists_the_service_in_any_directory(built: Built, tmp_path: Path) -> None:
    program = "import sys; sys.argv = ['twistd', '--help']; from twisted.scripts import twistd"
    told = run(built.bin / "python", "-c", f"{program}; twistd.run()", cwd=tmp_path)
    assert [line for line in told.splitlines() if line.strip().startswith("rtpproxy ")]


def test_it_is_the_installed_plugin_that_twistd_finds(built: Built, tmp_path: Path) -> None:
    program = (
        "from twisted.plugin import getPlugins, IPlugin\n"
        "import rtpproxy_tw, twisted.plugins.rtpproxy_plugin as plugin\n"
        "assert plugin.rtpproxy in list(getPlugins(IPlugin))\n"
        "print(plugin.__file__, rtpproxy_tw.__file__)\n"
    )
    for path in run(built.bin / "python", "-c", program, cwd=tmp_path).split():
        assert Path(path).resolve().is_relative_to(built.library.resolve())


def test_twisted_itself_is_left_as_it_was() -> None:
    assert not (ROOT / "twisted" / "__init__.py").exists()
    assert not (ROOT / "twisted" / "plugins" / "__init__.py").exists()


def test_the_wheel_has_the_page_and_the_sdist_what_boards_and_alerts_are_made_of(
    built: Built,
) -> None:
    page = {
        f"rtpproxy_tw/web/page/{file.name}" for file in (ROOT / "rtpproxy_tw/web/page").iterdir()
    }
    assert page <= names(built.wheel)
    wanted = {"packaging/grafana/rtpproxy-tw.json", "packaging/prometheus/rtpproxy-tw.yml"}
    assert wanted <= names(built.sdist)


def test_the_control_tool_is_there(built: Built, tmp_path: Path) -> None:
    assert "--api" in run(built.bin / "rtpproxy-ctl", "--help", cwd=tmp_path)


@pytest.mark.parametrize("program", ["rtpproxy-tw", "rtpproxy-demo"])
def test_the_programs_are_there(built: Built, tmp_path: Path, program: str) -> None:
    assert "--control" in run(built.bin / program, "--help", cwd=tmp_path)
