"""Run folders from before evidence had a schema are judged as they were, or refused with one line."""

from __future__ import annotations

import gzip
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from experiments import __main__ as command
from experiments import catalog
from experiments.engine import folder
from experiments.engine.verdict import Verdict
from topo.folders import opened

RUNS = sorted(path.parent for path in (Path(__file__).parent / "data" / "runs").glob("*/result.json"))


@pytest.fixture
def old_run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run's folder, unpacked."""
    source: Path = request.param
    shutil.copyfile(source / folder.RESULT, tmp_path / folder.RESULT)
    (tmp_path / folder.EVIDENCE).write_bytes(gzip.decompress((source / f"{folder.EVIDENCE}.gz").read_bytes()))
    return tmp_path


def test_there_are_three_of_each_experiment_that_is_older_than_the_schema() -> None:
    kept = Counter(path.name.rpartition("-")[0] for path in RUNS)
    assert (len(kept), set(kept.values())) == (7, {3})
    assert set(kept) <= {experiment.name for experiment in catalog.EXPERIMENTS}


@pytest.mark.parametrize("old_run", RUNS, ids=lambda path: path.name, indirect=True)
def test_an_old_run_is_judged_as_it_was_or_refused_with_one_line(
    old_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = command.main(["judge", str(old_run), "--json"])
    out, err = capsys.readouterr()
    if not out:
        assert code == 2
        assert err.count("\n") == 1
        assert "schema 0; this version judges schema" in err
        return
    old, new = folder.read(old_run, folder.RESULT)["verdict"], json.loads(out)
    assert new["holds"] is old["holds"]
    assert {name: value for name, value in new["numbers"].items() if name in old["numbers"]} == old["numbers"]
    assert code == Verdict(**old).exit_code


@pytest.mark.parametrize("old_run", RUNS[:1], indirect=True)
@pytest.mark.parametrize("words", [["judge"], ["report"], ["compare"]])
def test_another_schema_is_refused_by_every_command_with_one_line(
    old_run: Path, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    journey = next(path for path in RUNS if path.name == "journey-1")
    evidence: Any = json.loads(gzip.decompress((journey / f"{folder.EVIDENCE}.gz").read_bytes()))
    folder.write(opened(old_run), folder.EVIDENCE, {**evidence, "schema": 99})
    shutil.copyfile(journey / folder.RESULT, old_run / folder.RESULT)
    monkeypatch.chdir(old_run)
    assert command.main([*words, *[str(old_run)] * (2 if words == ["compare"] else 1)]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "foobar: evidence.json: schema 99; this version judges schema 1 of it\n")
