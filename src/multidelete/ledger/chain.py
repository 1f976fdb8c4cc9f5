"""The ledger: an append-only SQLite file in which each event holds the hash of the one before."""

import json
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from multidelete.artifacts.folders import make_folder
from multidelete.core.errors import LedgerError
from multidelete.ledger.clock import now, written
from multidelete.ledger.events import Event, Opened, read_event
from multidelete.ledger.recorded import Recorded, canonical, hash_of, place_of_event
from multidelete.ledger.states import RequestState, after, refuse_step
from multidelete.ledger.verifier import (
    FIRST,
    MIGRATIONS,
    NOTED,
    PAGE_BYTES,
    FalseError,
    Findings,
    UnusableError,
    read_ledger,
)

FILE = "ledger.sqlite"
KEYS = "keys"
_PATIENCE_S = 30.0  # until another process has written its event


class Ledger:
    """The ledger of one lineage, in its folder.

    What is read is checked: nothing is appended to a chain that does not hold.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._events: list[Recorded] = []
        self._requests: dict[str, RequestState] = {}
        self._open: sqlite3.Connection | None = None

    def __repr__(self) -> str:
        return f"Ledger({str(self.folder)!r})"

    @classmethod
    def create(cls, folder: str | Path, opened: Opened, *, time: datetime | None = None) -> "Ledger":
        """A new ledger, whose first event tells what the lineage begins with.

        Raises:
            LedgerError: The folder holds one already, or cannot be written.
            CheckpointError: The folder cannot be made.
        """
        ledger = cls(Path(folder))
        make_folder(ledger.folder)
        with ledger._writing(new=True) as connection:
            if ledger._read(connection):
                raise LedgerError(f"{folder} holds a ledger already. Give another folder.")
            ledger._append(connection, secrets.token_hex(16), opened, time)
        return ledger

    @classmethod
    def open(cls, folder: str | Path) -> "Ledger":
        """The ledger in a folder.

        Raises:
            LedgerError: There is none, or its chain does not hold.
        """
        ledger = cls(Path(folder))
        ledger.events()
        return ledger

    @classmethod
    def is_there(cls, folder: Path) -> bool:
        """Whether a folder holds a ledger that was made to its end."""
        ledger = cls(folder)
        if not (folder / FILE).is_file():
            return False
        with ledger._connected() as connection:
            return bool(ledger._read(connection))

    @property
    def id(self) -> str:
        """Random id: it stands in every event, so that one of another ledger is told."""
        return self.events()[0].ledger

    @property
    def opened(self) -> Opened:
        """What the lineage began with."""
        first = self.events()[0].event
        if not isinstance(first, Opened):
            raise LedgerError(f"{self.folder} begins with an event of the kind {first.kind!r}. {_RESTORE}")
        return first

    @property
    def head(self) -> Recorded:
        """The newest event."""
        return self.events()[-1]

    def events(self) -> tuple[Recorded, ...]:
        """All events, oldest first; new ones are checked as they are read.

        Raises:
            LedgerError: The chain does not hold.
        """
        if self._open is not None:
            return self._read(self._open)
        with self._connected() as connection:
            events = self._read(connection)
        if not events:
            raise LedgerError(f"{self.folder} holds no ledger: making it was cut off. Run ledger init again.")
        return events

    def refuse_read_only(self) -> None:
        """Refuse a folder that nothing can be written to, before anything is worked out that would be written down.

        Raises:
            LedgerError: It can be read alone.
        """
        if not os.access(self.folder, os.W_OK):
            raise LedgerError(
                f"{self.folder} cannot be written to, and what is done must be written down there. Give the folder "
                "itself, writable: of a copy that is read-only, ledger show, log and export tell what it holds."
            )

    def requests(self) -> dict[str, RequestState]:
        """Where each request stands, by reference, in the order in which they came in."""
        self.events()
        return dict(self._requests)

    def append(self, event: Event, *, time: datetime | None = None) -> Recorded:
        """Write one more event; within `writing`, with what else is written there.

        Args:
            event: What happened.
            time: When; without it now, or what the environment variable MULTIDELETE_NOW says.

        Raises:
            LedgerError: It cannot follow, or cannot be written; then nothing was.
        """
        if self._open is not None:
            return self._append(self._open, self.id, event, time)
        with self.writing():
            return self.append(event, time=time)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one that writes: what is read within stays true until its end. An error within takes events back.

        Within another such block it is a part of that one.

        Raises:
            LedgerError: Another process writes and does not end, or nothing can be written.
        """
        if self._open is not None:
            yield
            return
        with self._writing() as connection:
            before, self._open = (len(self._events), self._requests), connection
            try:
                yield
            except BaseException:
                del self._events[before[0] :]
                self._requests = before[1]
                raise
            finally:
                self._open = None

    def verify(self) -> tuple[Recorded, ...]:
        """Read everything afresh and check it: the file's bytes, the order, every hash, every step of every request.

        Nobody can tell from a chain alone whether its last events were removed: compare its head with a certificate.

        Raises:
            LedgerError: The first thing that does not hold.
        """
        try:
            read_ledger(self.folder, Findings())
        except FalseError as error:
            raise LedgerError(f"{self.folder / FILE} is not what was written: {error} {_RESTORE}") from error
        except UnusableError as error:
            raise LedgerError(str(error)) from error
        return Ledger(self.folder).events()

    @contextmanager
    def _connected(self, *, new: bool = False) -> Iterator[sqlite3.Connection]:
        path = self.folder / FILE
        if not new and not path.is_file():
            raise LedgerError(f"{self.folder} holds no ledger ({FILE} is not there). Make one with ledger init.")
        try:
            with closing(_opened(path, is_new=new)) as connection:
                connection.execute("PRAGMA synchronous=FULL")
                yield connection
        except sqlite3.Error as error:
            raise LedgerError(_told(path, error)) from error

    @contextmanager
    def _writing(self, *, new: bool = False) -> Iterator[sqlite3.Connection]:
        with self._connected(new=new) as connection:
            if new:
                connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
                connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                _migrate(connection)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _read(self, connection: sqlite3.Connection) -> tuple[Recorded, ...]:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone():
            return ()
        rows = connection.execute(
            "SELECT number, ledger, kind, time, body, previous, hash FROM events WHERE number > ? ORDER BY number",
            (len(self._events),),
        )
        for number, ledger, kind, time, text, previous, own in rows:
            where = f"event {number} of {self.folder / FILE}"
            try:
                body = json.loads(text)
                is_whole = canonical(body) == text
            except (ValueError, AttributeError, RecursionError):
                is_whole = False
            if not is_whole:
                raise LedgerError(f"{where} is not what was written: its content is no canonical JSON. {_RESTORE}")
            last = self._events[-1] if self._events else None
            wrong = [
                *(["its number does not follow"] if number != len(self._events) + 1 else []),
                *(["it is of another ledger"] if last is not None and ledger != last.ledger else []),
                *(["it does not follow the one before"] if previous != (last.hash if last else FIRST) else []),
                *(["its hash is another"]
                  if own != hash_of(text, place_of_event(ledger, number, kind, time, previous)) else []),
            ]  # fmt: skip
            if wrong:
                raise LedgerError(f"{where} is not what was written: {' and '.join(wrong)}. {_RESTORE}")
            one = Recorded(ledger, number, time, read_event(kind, body, where), text, previous, own)
            self._requests = after(self._requests, one)
            self._events.append(one)
        return tuple(self._events)

    def _append(self, connection: sqlite3.Connection, ledger: str, event: Event, time: datetime | None) -> Recorded:
        before = self._read(connection)
        refuse_step(self._requests, event)
        number, previous = len(before) + 1, before[-1].hash if before else FIRST
        text, at = canonical(event.as_json()), written(time or now())
        own = hash_of(text, place_of_event(ledger, number, event.kind, at, previous))
        row = (number, ledger, event.kind, at, text, previous, own)
        connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return self._read(connection)[-1]  # what could not be read again is not written


def _opened(path: Path, *, is_new: bool) -> sqlite3.Connection:
    """A connection; where nothing can be written, without the files that SQLite makes beside one in WAL mode."""
    log = path.with_name(f"{path.name}-wal")
    if is_new or os.access(path.parent, os.W_OK) or (log.exists() and log.stat().st_size):
        return sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None)
    return sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None)


_RESTORE = "Restore the ledger from a backup; nothing is added to one that does not hold."


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring a file to the newest form; what was applied is noted by name.

    Raises:
        LedgerError: It is of a later version.
    """
    connection.execute(NOTED)
    applied = [name for (name,) in connection.execute("SELECT name FROM migrations ORDER BY rowid")]
    known = [name for name, _ in MIGRATIONS]
    if applied != known[: len(applied)]:
        raise LedgerError(
            f"the ledger has had the migrations {', '.join(applied)}, and this version knows {', '.join(known)}. "
            "Use the version that wrote it, or a later one."
        )
    for name, statements in MIGRATIONS[len(applied) :]:
        for statement in statements:
            connection.execute(statement)
        connection.execute("INSERT INTO migrations VALUES (?)", (name,))


def _told(path: Path, error: sqlite3.Error) -> str:
    """What SQLite refused, in words with a remedy."""
    name = getattr(error, "sqlite_errorname", None) or ""
    if name == "SQLITE_FULL":
        return f"{path} cannot be written: the disk is full. Make room there; nothing was written."
    if name.startswith("SQLITE_BUSY"):
        return f"{path} is being written by another process, which has not ended in {_PATIENCE_S:.0f} s. Try again."
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_SCHEMA")):
        return f"{path} is damaged: {error}. {_RESTORE}"
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_PERM")):
        return f"{path} cannot be read or written: {error}. Look at its permissions, and whether the disk is full."
    return f"{path} is not a ledger as it was written: {error}. {_RESTORE}"
