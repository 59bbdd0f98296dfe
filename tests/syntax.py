"""Sources as syntax trees, each parsed once for all tests that look into it: that takes half a second for all."""

from __future__ import annotations

import ast
from functools import cache


@cache
def tree(source: str) -> ast.Module:
    return ast.parse(source)
