"""A disk that has room for some bytes more."""

import os

import pytest


def fill_disk(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    """Makes `os.write` write so many bytes in all, and nothing of the rest."""
    real_write, free = os.write, free_bytes

    def write(file: int, data: bytes) -> int:
        nonlocal free
        taken = data[:free]
        free -= len(taken)
        return real_write(file, taken)

    monkeypatch.setattr(os, "write", write)
