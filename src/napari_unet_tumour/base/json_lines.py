"""Records of one JSON object per line, to which lines are appended."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def read_lines(path: Path, keys: Iterable[str]) -> list[dict[str, Any]]:
    """Return the complete objects with these keys, none without a file; the last line may be cut off by a crash."""
    found = []
    with suppress(OSError):
        for text in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                line = json.loads(text)
                if isinstance(line, dict) and set(keys) <= line.keys():
                    found.append(line)
    return found


def append_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Append objects to a file in an existing folder; raises OutputError."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}): free some space") from error
