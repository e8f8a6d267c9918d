"""How much an object keeps: the elements of all containers and arrays that it leads to."""

import gc
import logging
import types
from collections import deque
from typing import Any

import numpy as np

_OTHERS = (
    *(type, types.ModuleType, types.FunctionType, types.MethodType, types.BuiltinFunctionType, types.CodeType),
    *(str, bytes, int, float, logging.Logger),
)


def elements_within(*roots: Any) -> int:
    """Classes, functions and what they lead to are not counted."""
    known: set[int] = set()
    waiting, count = list(roots), 0
    while waiting:
        each = waiting.pop()
        if id(each) in known or isinstance(each, _OTHERS):
            continue
        known.add(id(each))
        if isinstance(each, np.ndarray):
            count += each.size
        elif isinstance(each, dict | list | set | tuple | deque | frozenset):
            count += len(each)
        waiting.extend(gc.get_referents(each))
    return count
