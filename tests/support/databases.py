"""Empty databases of either engine, as many as a test wants."""

from __future__ import annotations

import itertools
from pathlib import Path

from sqlalchemy.exc import ProgrammingError

from tests.support.newest import at, put_postgres, put_sqlite, say


class Databases:
    """For one test. `postgres_url`: of a server where databases may be made; those of the test before are used again."""

    def __init__(self, folder: Path, postgres_url: str) -> None:
        self._folder, self._postgres_url, self._serial = folder, postgres_url, itertools.count(1)

    def new(self, engine: str) -> str:
        """The URL of an empty database of "sqlite" or "postgresql"."""
        name = f"site{next(self._serial)}"
        if engine == "sqlite":
            return f"sqlite:///{self._folder / name}.db"
        url = at(self._postgres_url, name)
        try:
            self.say(f"CREATE DATABASE {name}")
        except ProgrammingError:  # it is there
            self.say("DROP SCHEMA public CASCADE", url)
            self.say("CREATE SCHEMA public", url)
            self.say("GRANT USAGE ON SCHEMA public TO PUBLIC", url)
        return url

    def newest(self, engine: str) -> str:
        """The URL of one of the newest schema."""
        name = f"site{next(self._serial)}"
        return put_sqlite(self._folder / f"{name}.db") if engine == "sqlite" else put_postgres(self._postgres_url, name)

    def again(self, engine: str) -> str:
        """One that is emptied each time it is asked for."""
        self._serial = itertools.count(1)
        for path in self._folder.glob("site1.db*"):
            path.unlink()
        return self.new(engine)

    def say(self, statement: str, url: str = "") -> None:
        """One statement to the server, outside any transaction."""
        say(url or self._postgres_url, statement)
