"""A result: what result.json says of a run, but for the verdict, which is always made again from the evidence."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from experiments.engine import folder
from experiments.engine.evidence import SchemaError, converted
from experiments.engine.run import Value
from topo import profile
from topo.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class SavedProvenance:
    """The ``provenance``; what a run did not note is unknown."""

    commit: str | None = None
    dirty: bool | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    argv: Sequence[str] = ()
    kernel: str = "unknown"
    cpus: int = 0
    datapath: str = "unknown"


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """As it was read, of the types that it must have."""

    SCHEMA: ClassVar[int] = 1

    schema: int = 1
    experiment: str
    profile: Mapping[str, Value]
    status: Literal["completed", "refused", "aborted"]
    seed: int = 0
    repeat: int | None = None
    options: Mapping[str, Value] = field(default_factory=dict)
    steady: Mapping[str, bool] = field(default_factory=dict)
    provenance: SavedProvenance = field(default_factory=SavedProvenance)
    started: str = ""
    duration_s: float = 0.0

    @property
    def again(self) -> str:
        """The command that repeats the run: every choice that was made, typed out."""
        seed = profile.SEED.as_dict()
        flags = {axis: value for axis, value in self.profile.items() if value != seed.get(axis)}
        flags |= {"seed": self.seed, **({"repeat": self.repeat} if self.repeat else {}), **self.options}
        words = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
        return shlex.join(["sudo", ".venv/bin/python", "-m", "experiments", "run", self.experiment, *words])


def read(path: Path) -> RunResult:
    """The result in a run's folder. Raises UsageError for what is none, SchemaError for one of another version."""
    result = converted(RunResult, folder.read(path, folder.RESULT), partial(_refused, path / folder.RESULT))
    if result.schema != RunResult.SCHEMA:
        raise SchemaError(
            f"{folder.RESULT}: schema {result.schema}; this version reads schema {RunResult.SCHEMA} of it"
        )
    return result


def _refused(file: Path, what: str, where: str) -> UsageError:
    return UsageError(f"{file}: {where}: {what}")
