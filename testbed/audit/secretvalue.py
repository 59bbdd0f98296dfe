"""A secret, with its name in words: what an audit looks for wherever it must not be."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.secrets import Secrets


@dataclass(frozen=True)
class SecretValue:
    """Only its name is ever told."""

    what: str
    text: str = field(repr=False)


def values(secrets: Secrets) -> tuple[SecretValue, ...]:
    """The passwords and keys of the testbed's own parts."""
    return tuple(
        SecretValue(f"the {name.replace('_', ' ')}", value)
        for name, value in vars(secrets).items()
        if isinstance(value, str) and name.endswith(("password", "key")) and value
    )
