"""What only two people together may do (DESIGN.md section 4): their names, as they stand in rows and in the audit."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from triage_node.domain.errors import StoreError

LONGEST_NAME = 60


def two_people(names: Sequence[str]) -> str:
    """The names as one text of at most 128 characters. Raises: StoreError unless exactly two different people are named."""
    told = [" ".join(unicodedata.normalize("NFKC", name).split()) for name in names]
    if len(told) != 2 or not all(told) or told[0].casefold() == told[1].casefold():
        raise StoreError(f"this counts only when two different people sign it; named: {', '.join(told) or 'nobody'}")
    for name in told:
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise StoreError(
                f"a name of more than {LONGEST_NAME} characters, or with control characters, signs nothing"
            )
    return " and ".join(sorted(told))
