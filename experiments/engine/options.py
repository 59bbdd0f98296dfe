"""Flags of an experiment's own, declared as values: ``options = (Option("rate", 200, "requests per second"),)``."""

from __future__ import annotations

from dataclasses import dataclass

from topo.errors import UsageError, among

Value = int | float | str


@dataclass(frozen=True)
class Option:
    """``--name``, then in ``run.options["name"]``: of the default's type, ``least`` to ``most`` or one of ``values``.

    A name has no dashes: it is a key too.
    """

    name: str
    default: Value
    why: str
    least: float = 0
    most: float = float("inf")
    values: tuple[str, ...] = ()

    def read(self, text: str) -> Value:
        """The typed text as a value. Raises UsageError, saying what would do."""
        if isinstance(self.default, str):
            if self.values and text not in self.values:
                raise UsageError(f"--{self.name} {text}: unknown; possible values: {among(text, self.values)}")
            return text
        kind = type(self.default)
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not self.least <= value <= self.most:
            raise UsageError(f"--{self.name} {text}: must be {self._wanted()}")
        return value

    def _wanted(self) -> str:
        """In words: ``a whole number from 1 to 5000``."""
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        return (
            f"{kind}, {self.least:g} or more"
            if self.most == float("inf")
            else f"{kind} from {self.least:g} to {self.most:g}"
        )
