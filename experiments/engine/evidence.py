"""Evidence: what a run has measured, as it is saved in evidence.json; validated once, when it is read.

An experiment declares its evidence as a frozen dataclass in its ``evidence.py``; rows, of which there are many, are
``TypedDict``s: they stay plain data. A field that an interrupted run may lack has a default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, ClassVar, TypedDict, TypeVar

from topo.errors import FoobarError, RefusedError, UsageError

Raw = Mapping[str, Any]
T = TypeVar("T")
E = TypeVar("E", bound="Evidence")
LATEST = 1e11  # s since 1970: what is later is no time


class SchemaError(RefusedError):
    """The evidence is of a schema that this version cannot judge."""


class EvidenceError(UsageError):
    """A field of the evidence is missing, or is not of its type."""


class SteadyLook(TypedDict):
    """One look at the steady state: does it hold, and if not, the problems."""

    holds: bool
    problems: str | None


class MachineSecond(TypedDict):
    """The machine's load in one second: the processors' idle share, and by how much a short sleep was late."""

    time: float
    idle: float
    lag_ms: float


class DisturbanceRow(TypedDict):
    """A change that the experiment did not make: when (s since 1970), from where, and the request or what was seen."""

    time: float
    who: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The part that the engine notes of every run; experiments add their own fields.

    ``steady``: by ``before`` and ``after``. ``aborted``: why measuring did not come to its end. ``timeline``: marks,
    ``{"time" (s since 1970), "what", ...}``. ``disturbances``: changes by hand meanwhile. ``upgrades``: how evidence of
    an older schema becomes that of the next.
    """

    SCHEMA: ClassVar[int] = 1
    upgrades: ClassVar[Mapping[int, Callable[[Raw], Raw]]] = {}

    schema: int = 1
    steady: Mapping[str, SteadyLook] = field(default_factory=dict)
    aborted: str | None = None
    timeline: Sequence[Raw] = ()
    machine: Sequence[MachineSecond] = ()
    disturbances: Sequence[DisturbanceRow] = ()

    @classmethod
    def parse(cls: type[E], raw: Any) -> E:
        """Read JSON data. Raises SchemaError for another schema, EvidenceError naming the field that is wrong."""
        schema = raw.get("schema", 0) if isinstance(raw, Mapping) else cls.SCHEMA
        while isinstance(schema, int) and schema in cls.upgrades:
            raw, schema = cls._upgraded(raw, schema), schema + 1
        if schema != cls.SCHEMA or not isinstance(schema, int):
            shown = str(schema)[:20]
            raise SchemaError(f"evidence.json: schema {shown}; this version judges schema {cls.SCHEMA} of it")
        return converted(cls, raw, partial(_refused, cls.SCHEMA))

    @classmethod
    def _upgraded(cls, raw: Raw, schema: int) -> Raw:
        try:
            return cls.upgrades[schema](raw)
        except Exception as error:  # whatever the older evidence lacks
            why = f"{type(error).__name__}: {error}"
            raise EvidenceError(f"evidence.json: schema {schema}: no schema {schema + 1} of it: {why}") from None

    def __post_init__(self) -> None:
        """Raises ValueError for a mark on the timeline that is none."""
        for number, mark in enumerate(self.timeline):
            time, what = mark.get("time"), mark.get("what")
            if not isinstance(time, (int, float)) or not abs(time) < LATEST or not isinstance(what, str):
                raise ValueError(f"timeline[{number}]: a mark has a time and says what")

    def own(self) -> dict[str, Any]:
        """The experiment's own fields, as they are saved."""
        engine = {own.name for own in fields(Evidence)}
        return {own.name: getattr(self, own.name) for own in fields(self) if own.name not in engine}


def circumstances(raw: Any) -> Evidence:
    """The engine's own part of a run's evidence, whatever became of its measurement. Raises EvidenceError."""
    return converted(Evidence, raw, partial(_refused, Evidence.SCHEMA))


def converted(kind: type[T], raw: Any, refused: Callable[[str, str], FoobarError]) -> T:
    """JSON data as a value of its type. ``refused`` makes the error of what is wrong and where, which is raised."""
    import msgspec

    try:
        return msgspec.convert(raw, kind)
    except (ValueError, ArithmeticError, RecursionError) as error:  # msgspec's own among them
        what, _, where = str(error).partition(" - at `$")
        raise refused(what, where.strip("`.") or "the whole") from None


def _refused(schema: int, what: str, where: str) -> EvidenceError:
    return EvidenceError(f"evidence.json: schema {schema}: {where}: {what}")


def unchanged(raw: Raw) -> Raw:
    """The upgrade to a schema that differs in its number alone."""
    return {**raw, "schema": raw.get("schema", 0) + 1}
