"""Files of one recording find each other by their sidecars."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rtpproxy_tw.recording.parts import parts_of


def put(folder: Path, name: str, **told: Any) -> str:
    """A file with a sidecar that says so."""
    (folder / name).write_bytes(b"")
    sidecar = {"state": "finished", "files": [{"name": name}], **told}
    (folder / f"{name}.json").write_text(json.dumps(sidecar))
    return str(folder / name)


@pytest.mark.parametrize("ending", [".o.rtp", ".a.rtp", ".rtp", ".pcap", ""])
def test_parts_are_found_whichever_is_asked_for(tmp_path: Path, ending: str) -> None:
    names = ["c=f~crashed", "c=f~crashed2", "c=f~2~crashed", "c=f~2", "c=f"]
    made = [
        put(tmp_path, name + ending, recording="one", part=number)
        for number, name in enumerate(names, 1)
    ]
    put(tmp_path, f"c=f~3{ending}", recording="another", part=1)
    put(tmp_path, f"c=f~4{ending}")
    for path in made:
        assert parts_of(path) == made


def test_a_file_without_a_sidecar_is_all_there_is(tmp_path: Path) -> None:
    put(tmp_path, "c=f~2.o.rtp", recording="one", part=2)
    (tmp_path / "c=f.o.rtp").write_bytes(b"")
    assert parts_of(str(tmp_path / "c=f.o.rtp")) == [str(tmp_path / "c=f.o.rtp")]
    assert parts_of(str(tmp_path / "gone.o.rtp")) == [str(tmp_path / "gone.o.rtp")]


@pytest.mark.parametrize("told", [{"recording": 7, "part": []}, {"recording": ""}, {"part": 1}])
def test_sidecars_that_make_no_sense_join_nothing(tmp_path: Path, told: dict[str, Any]) -> None:
    path = put(tmp_path, "c=f.o.rtp", **told)
    put(tmp_path, "c=f~2.o.rtp", **told)
    assert parts_of(path) == [path]


def test_a_part_whose_file_is_gone_is_left_out(tmp_path: Path) -> None:
    first = put(tmp_path, "c=f~crashed.o.rtp", recording="one", part=1)
    second = put(tmp_path, "c=f.o.rtp", recording="one", part=2)
    Path(first).unlink()
    assert parts_of(second) == [second]


def test_names_that_look_like_patterns_mean_themselves(tmp_path: Path) -> None:
    folder = tmp_path / "[a]*"
    folder.mkdir()
    made = [
        put(folder, name, recording="one", part=number)
        for number, name in enumerate(["[c]=f~crashed.o.rtp", "[c]=f.o.rtp"])
    ]
    assert parts_of(made[0]) == made
