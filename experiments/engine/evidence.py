"""Evidence: what a run has measured, as it is saved in evidence.json; validated once, when it is read.

An experiment declares its evidence as a frozen dataclass in its ``evidence.py``; rows, of which there are many, are
``TypedDict``s: they stay plain data. A field that an interrupted run may lack has a default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypedDict, TypeVar

from topo.errors import RefusedError, UsageError

Raw = Mapping[str, Any]
E = TypeVar("E", bound="Evidence")


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


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The part that the engine notes of every run; experiments add their own fields.

    ``steady``: by ``before`` and ``after``. ``aborted``: why measuring did not come to its end. ``timeline``: marks,
    ``{"time" (s since 1970), "what", ...}``. ``upgrades``: how evidence of an older schema becomes that of the next.
    """

    SCHEMA: ClassVar[int] = 1
    upgrades: ClassVar[Mapping[int, Callable[[Raw], Raw]]] = {}

    schema: int = 1
    steady: Mapping[str, SteadyLook] = field(default_factory=dict)
    aborted: str | None = None
    timeline: Sequence[Raw] = ()
    machine: Sequence[MachineSecond] = ()

    @classmethod
    def parse(cls: type[E], raw: Any) -> E:
        """Read JSON data. Raises SchemaError for another schema, EvidenceError naming the field that is wrong."""
        schema = raw.get("schema", 0) if isinstance(raw, Mapping) else cls.SCHEMA
        while schema in cls.upgrades:
            raw, schema = cls.upgrades[schema](raw), schema + 1
        if schema != cls.SCHEMA:
            raise SchemaError(f"evidence.json: schema {schema}; this version judges schema {cls.SCHEMA} of it")
        return _converted(cls, raw)

    def own(self) -> dict[str, Any]:
        """The experiment's own fields, as they are saved."""
        engine = {own.name for own in fields(Evidence)}
        return {own.name: getattr(self, own.name) for own in fields(self) if own.name not in engine}


def circumstances(raw: Any) -> Evidence:
    """The engine's own part of a run's evidence, whatever became of its measurement. Raises EvidenceError."""
    return _converted(Evidence, raw)


def _converted(kind: type[E], raw: Any) -> E:
    import msgspec

    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        field = where.strip("`.") or "the whole"
        raise EvidenceError(f"evidence.json: schema {kind.SCHEMA}: {field}: {what}") from None


def unchanged(raw: Raw) -> Raw:
    """The upgrade to a schema that differs in its number alone."""
    return {**raw, "schema": raw.get("schema", 0) + 1}
