"""Files of one folder by the names that tables give them, never outside of it."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from triage_node.datasets.tables import nearest
from triage_node.domain.errors import DataSetError

IGNORED = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(frozen=True)
class Folder:
    """All files below a folder, without hidden ones.

    Links are followed as whoever made the folder set them, to files and to one level of folders, never to a folder that
    holds this one.
    """

    path: Path

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Names relative to the folder, with slashes, sorted."""
        root = os.path.realpath(self.path)
        found = _files_below(root, "")
        with os.scandir(root) as entries:
            for entry in entries:
                if entry.is_symlink() and entry.is_dir() and not entry.name.startswith("."):
                    target = os.path.realpath(entry.path)
                    if not f"{root}{os.sep}".startswith(target.rstrip(os.sep) + os.sep):
                        found += _files_below(target, f"{entry.name}/")
        return tuple(sorted(found))

    def ending(self, *suffixes: str) -> tuple[str, ...]:
        """Files with one of these endings, in any case."""
        return tuple(f for f in self.files if f.casefold().endswith(suffixes))

    def at(self, name: str) -> Path:
        """The path of a file of this folder."""
        return self.path / name

    @cached_property
    def _exact(self) -> frozenset[str]:
        return frozenset(self.files)

    def _begins_with(self, part: str) -> bool:
        return (self.path / part).is_dir()

    @cached_property
    def _by_path(self) -> dict[str, str]:
        return {_key(f): f for f in self.files}

    @cached_property
    def _by_tail(self) -> dict[str, tuple[str, ...]]:
        """Every ending of a path at a slash, with and without the extension."""
        tails: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for f in self.files:
            parts = _key(f).split("/")
            for i in range(len(parts)):
                tail = "/".join(parts[i:])
                tails[tail][f] = None
                tails[_stem(tail)][f] = None
        return {t: tuple(fs) for t, fs in tails.items()}

    @cached_property
    def _by_number(self) -> dict[int, tuple[str, ...]]:
        numbers: defaultdict[int, list[str]] = defaultdict(list)
        for f in self.files:
            stem = _stem(PurePosixPath(f).name)
            if stem.isascii() and stem.isdigit():
                numbers[int(stem)].append(f)
        return {n: tuple(fs) for n, fs in numbers.items()}

    def matches(self, told: str) -> tuple[str, ...]:
        """Files that a table may mean by this name: the very path, else the end of one, with or without its extension.

        `7` means `007.png` when nothing is called `7`. Raises DataSetError when the name leads out of the folder.
        """
        clean = told.strip().replace("\\", "/")
        parts = [p for p in clean.split("/") if p not in ("", ".")]
        if ".." in parts or clean.startswith(("/", "~")) or ":" in (parts[0] if parts else "")[:2]:
            raise DataSetError(f"the name {told[:80]!r} leads out of the folder; names are relative to it")
        if "\0" in clean or not parts:
            return ()
        if "/".join(parts) in self._exact:
            return ("/".join(parts),)
        if len(parts) > 1 and _key(parts[0]) == _key(self.path.resolve().name) and not self._begins_with(parts[0]):
            parts = parts[1:]
            if "/".join(parts) in self._exact:
                return ("/".join(parts),)
        key = _key("/".join(parts))
        if key in self._by_path:
            return (self._by_path[key],)
        if key in self._by_tail:
            return self._by_tail[key]
        stem = _stem(key)
        # a table may say .dcm where the folder holds .png, but only when the folder has just one such picture
        if stem in self._by_tail:
            return self._by_tail[stem]
        whole = stem.removesuffix(".0")
        return self._by_number.get(int(whole), ()) if whole.isascii() and whole.isdigit() and len(whole) < 10 else ()

    def suggestion(self, told: str) -> str:
        """The nearest file name, in words."""
        name = PurePosixPath(told.replace("\\", "/")).name
        return nearest(name, (PurePosixPath(f).name for f in self.files[:20000]))

    def found_words(self) -> str:
        """What lies in the folder, for messages."""
        top = sorted({f.split("/")[0] + ("/" if "/" in f else "") for f in self.files})
        more = f" and {len(top) - 8} more" if len(top) > 8 else ""
        return f"found {', '.join(top[:8])}{more}" if top else "found no files"


def _files_below(root: str, prefix: str) -> list[str]:
    found: list[str] = []
    for where, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__MACOSX")))
        for name in names:
            full = os.path.join(where, name)
            if not name.startswith(".") and name.casefold() not in IGNORED and os.path.isfile(full):
                found.append(prefix + os.path.relpath(full, root).replace(os.sep, "/"))
    return found


def _key(name: str) -> str:
    """One key for a name in any case and any of Unicode's forms (a Mac writes an umlaut as two characters)."""
    return unicodedata.normalize("NFC", name).casefold()


def _stem(name: str) -> str:
    for ending in (".nii.gz",):
        if name.endswith(ending):
            return name.removesuffix(ending)
    head, _, tail = name.rpartition(".")
    # the last part of a UID is no ending
    return head if head and len(tail) <= 5 and "/" not in tail and not tail.isdigit() else name
