"""Files that are either whole or absent: a temporary name, fsync, rename."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from pyrorec.data import InputError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it only when the block ends well."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        os.chmod(partial, 0o666 & ~current_umask())  # some writers leave files readable by their owner only
        sync(partial)
        os.replace(partial, path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def current_umask() -> int:
    """The process's file mode mask; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def sync(path: Path) -> None:
    """Forces a file or folder onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Writes text, whole or not at all."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_with(path: Path, write: Callable[..., Any]) -> None:
    """Calls `write` on the temporary path."""
    with whole(path) as partial:
        write(partial)


def write_tensors(path: Path, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
    """Tensors as safetensors, with plain notes as JSON in its header."""
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    write_with(path, lambda partial: save_file(plain, partial, metadata={"notes": json.dumps(notes)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_tensors` wrote. Raises InputError for a missing or damaged file."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            notes = json.loads((file.metadata() or {}).get("notes", "{}"))
        return load_file(path), notes
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: the run is incomplete; fit it again.") from error
    except Exception as error:
        raise InputError(f"{path} is damaged and cannot be read ({error}); fit the run again.") from error


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under names that start with `prefix.`, so that several sets fit into one file."""
    return {f"{prefix}.{name}": value for name, value in state.items()}


def without_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `prefixed`: the tensors of one set under their own names."""
    start = prefix + "."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
