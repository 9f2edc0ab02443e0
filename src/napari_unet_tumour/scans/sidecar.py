"""The JSON file beside a NIfTI file, as dcm2niix and BIDS write it: which MR sequence the scan is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.scans.mr_sequences import sequence_from_timing, sequence_of

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 1 << 20


def facts_beside(path: Path) -> dict[str, str]:
    """Return "sequence" and "contrast_agent" as far as the JSON file says them, {} without a usable file.

    Descriptions come first, then the timing (in seconds there). A missing contrast agent says nothing: dcm2niix leaves
    it out of many scans.
    """
    found = _read(path)
    said = (sequence_of(str(found.get(name, ""))) for name in ("SeriesDescription", "ProtocolName"))
    times = [_milliseconds(found.get(name)) for name in ("EchoTime", "RepetitionTime", "InversionTime")]
    agent = str(found.get("ContrastBolusIngredient") or "")
    facts = {"sequence": next(filter(None, said), "") or sequence_from_timing(*times), "contrast_agent": agent}
    return {name: value for name, value in facts.items() if value}


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _milliseconds(seconds: Any) -> float | None:
    usable = isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds > 0
    return 1000.0 * seconds if usable else None
