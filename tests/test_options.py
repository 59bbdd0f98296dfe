"""An experiment's own flags: what was typed becomes a value, or one line that says what would do."""

from __future__ import annotations

import pytest

from experiments.engine.run import Option, Value
from topo.errors import UsageError

RATE = Option("rate", 200, "requests per second", least=1, most=5000)
PART = Option("part", 0.8, "share of the capacity", least=0.1)
KIND = Option("kind", "crash", "which fault", values=("crash", "freeze"))
NAME = Option("label", "", "any word")


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [(RATE, "1", 1), (RATE, "5000", 5000), (PART, "1", 1.0), (KIND, "freeze", "freeze"), (NAME, "x", "x")],
)
def test_what_was_typed_becomes_a_value(option: Option, text: str, value: Value) -> None:
    assert option.read(text) == value
    assert type(option.read(text)) is type(option.default)


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        (RATE, "0", "--rate 0: must be a whole number from 1 to 5000"),
        (RATE, "1.5", "--rate 1.5: must be a whole number from 1 to 5000"),
        (RATE, "many", "--rate many: must be a whole number from 1 to 5000"),
        (PART, "nan", "--part nan: must be a number, 0.1 or more"),
        (KIND, "freze", "--kind freze: unknown; possible values: crash, freeze (did you mean freeze?)"),
    ],
)
def test_what_cannot_be_meant_is_one_line(option: Option, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        option.read(text)
    assert str(caught.value) == said
