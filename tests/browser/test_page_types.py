"""The page's modules are type-checked by their comments (JSDoc), as the Python is by mypy."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.browser.tools import npm_folder

PAGE = Path(__file__).parents[2] / "rtpproxy_tw" / "web" / "page"

OPTIONS = {
    **{"allowJs": True, "checkJs": True, "noEmit": True, "strict": True, "types": []},
    **{"noUnusedLocals": True, "noUnusedParameters": True, "noImplicitReturns": True},
    **{"target": "es2022", "module": "es2022", "moduleResolution": "bundler"},
    "lib": ["es2023", "dom", "dom.iterable"],
}


@pytest.fixture
def compiler(request: pytest.FixtureRequest) -> list[str]:
    """How tsc is started."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is missing")
    assert request.config.cache is not None
    return [node, str(npm_folder(request.config.cache) / "node_modules" / ".bin" / "tsc")]


def check(compiler: list[str], folder: Path, *files: Path) -> str:
    """What the compiler has to say."""
    project = folder / "tsconfig.json"
    project.write_text(
        json.dumps({"compilerOptions": OPTIONS, "files": [str(file) for file in files]})
    )
    done = subprocess.run(
        [*compiler, "-p", str(project)], capture_output=True, text=True, timeout=120
    )
    return done.stdout + done.stderr


def test_the_types_of_all_modules_are_right(compiler: list[str], tmp_path: Path) -> None:
    assert check(compiler, tmp_path, *sorted(PAGE.glob("*.js"))) == ""


def test_the_check_finds_a_wrong_type(compiler: list[str], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.js"
    wrong.write_text('import { duration } from "./words.js";\nduration("a minute");\n')
    (tmp_path / "words.js").write_text((PAGE / "words.js").read_text())
    assert "TS2345" in check(compiler, tmp_path, wrong)
