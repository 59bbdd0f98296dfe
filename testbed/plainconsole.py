"""The terminal, for whatever is shown with rich: words are words there, whoever wrote them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from topo.plaintext import plain


class PlainConsole(Console):
    """A console without markup, in whose texts control characters are shown as escapes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def on_broken_pipe(self) -> None:
        """Called by rich where it handles that error, which is one like any other, and no reason to end Python."""
        raise  # noqa: PLE0704

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))
