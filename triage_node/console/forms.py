"""What a form of ours sends: few short fields."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, HTTPException, Request

LARGEST_BODY = 16_384
_MOST_FIELDS = 64


class Fields:
    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def one(self, name: str, longest: int = 256) -> str:
        """The field, empty where there is none. Raises: HTTPException 422 when it is longer than the form allows."""
        value = next((v for n, v in self._pairs if n == name), "")
        if len(value) > longest:
            raise HTTPException(422, f"At most {longest} characters are taken there.")
        return value

    def all(self, name: str) -> list[str]:
        """Every value of a field that may come more than once."""
        return [v for n, v in self._pairs if n == name]


async def _fields(request: Request) -> Fields:
    """Raises: HTTPException 413, 415, 422."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise HTTPException(415, "That is not what the form sends.")
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > LARGEST_BODY:
            raise HTTPException(413, "That is more than the form sends.")
    try:
        return Fields(parse_qsl(data.decode("utf-8"), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise HTTPException(422, "The form cannot be read.") from None


Form = Annotated[Fields, Depends(_fields)]
