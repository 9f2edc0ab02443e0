"""Whose scan it is, as far as the file says: an id that is neither the name nor the number in the file."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# What programs that take names out write in their place: it tells nobody from anybody.
_NOBODY = re.compile("anon|ident|unknown|none|null|removed|patient|subject", re.IGNORECASE)
_BIDS = re.compile(r"sub-([0-9a-z]+)(?=[_.]|$)", re.IGNORECASE)


def person_id(number: str) -> str:
    """Return the id of the person whom a number names, the same in all files with it; "" where it tells nothing.

    It is a pseudonym: who has a list of numbers can find out which of them it was made of.
    """
    number = number.strip("\0 ")
    named = any(one.isalpha() for one in number) and not _NOBODY.search(number)
    numbered = any(one.isdecimal() and one != "0" for one in number)
    return hashlib.sha256(f"person:{number}".encode()).hexdigest()[:16] if named or numbered else ""


def person_in(path: Path) -> str:
    """Return the id of the person whom a path names as BIDS does: `sub-01` begins a file's or is a folder's name."""
    file, *folders = (_BIDS.match(name) for name in (path.name, *(one.name for one in path.parents)))
    whole = (one for one in folders if one is not None and one.end() == len(one.string))
    found = file or next(whole, None)
    return "" if found is None else person_id(found.group(1))
