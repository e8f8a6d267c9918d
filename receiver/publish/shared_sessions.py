"""Sessions that several receivers share: fronts of one service, whose output directories lie in one folder.

    FOLDER/a/frames.jsonl            what the first receiver has recorded, as `session_directory` says
    FOLDER/b/frames.jsonl            what the second one has
    FOLDER/.sessions/3f…c2.lease     locked by the receiver whose stream uses the session now

A session's frames lie where they were received.  A receiver that takes a session over first locks its lease, which the
system releases when a process dies, and then reads in the other directories up to which frame they have it.
"""

import asyncio
import fcntl
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from receiver.config import PRIVATE_FILE, PRIVATE_FOLDER
from receiver.link.refusals import NotOwner, Refusal, SessionOwner, StreamRefused
from receiver.link.session import Session
from receiver.publish.files import output_error, output_errors
from receiver.publish.session_records import read_index, read_lines, read_records

logger = logging.getLogger(__name__)

_LEASES = ".sessions"


class SharedSessions:
    """What the receivers with outputs in one folder know of each other's sessions.

    Args:
        out: output directory of this receiver; those of the others lie beside it.

    Raises:
        OutputError: the folder of the leases cannot be created.
    """

    def __init__(self, out: Path) -> None:
        self._out = out.resolve()
        self._leases = self._out.parent / _LEASES
        self._skipped: set[Path] = set()
        with output_errors(self._leases):
            self._leases.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)

    def check_owner(self, identifier: str, owner: SessionOwner) -> None:
        """Raises NotOwner if another receiver has the session from another sender; OutputError if it cannot be read."""
        for folder in self._others():
            for recorded_owner in _owners(folder, identifier):
                if not recorded_owner.admits(owner):
                    raise NotOwner(f"a session in {folder} belongs to another sender")

    def acquire(self, identifier: str) -> IO[bytes]:
        """The right to use a session, until the file is closed or the process ends.

        Raises:
            StreamRefused: a stream of another receiver uses it.
            OutputError: the lease cannot be opened.
        """
        path = self._leases / f"{identifier}.lease"
        with output_errors(path):
            lease = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE), "r+b")
        try:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lease.close()
            if isinstance(error, BlockingIOError):
                reason = "full for now: another receiver serves the session"
                raise StreamRefused(Refusal.ELSEWHERE, reason) from error
            raise output_error(path, error) from error
        return lease

    def last_sequence(self, identifier: str) -> int:
        """The highest sequence number that others have of a session, or −1; now on disk. Raises OutputError."""
        return max((_last_sequence(folder, identifier) for folder in self._others()), default=-1)

    async def use(self, session: Session) -> None:
        """Takes a session for a stream of this receiver, until the stream releases it.

        Frames that another receiver has recorded are not requested again.

        Raises:
            StreamRefused: a stream of another receiver uses it.
            OutputError: a lease or directory cannot be opened or read.
        """
        if not session.recorded:
            return
        identifier = session.session_id.hex()
        session.hold(self.acquire(identifier))
        recorded = await asyncio.to_thread(self.last_sequence, identifier)
        if recorded >= session.next_sequence:
            logger.info("session of %s goes on at frame %d of another receiver", session.sender, recorded + 1)
        session.handled_before(recorded + 1)

    def _others(self) -> Iterator[Path]:
        with output_errors(self._out.parent):
            folders = sorted(path for path in self._out.parent.iterdir() if path != self._out)
        for folder in folders:
            try:
                found = folder.lstat()
                if not stat.S_ISDIR(found.st_mode):
                    continue
                if found.st_uid != os.geteuid():
                    self._skip(folder, "belongs to another user")
                elif (folder / "sessions.jsonl").is_file() and (folder / "frames.jsonl").is_file():
                    yield folder
            except OSError as error:
                self._skip(folder, error.strerror or str(error))

    def _skip(self, folder: Path, reason: str) -> None:
        """Leaves out a folder that cannot be one of the service's own; its frames, if any, count as not recorded."""
        if folder not in self._skipped:
            self._skipped.add(folder)
            logger.warning("sessions in %s are not shared: %s; give each receiver's folder to one user", folder, reason)


def _owners(folder: Path, identifier: str) -> list[SessionOwner]:
    with output_errors(folder):
        states = read_records(folder / "sessions.jsonl").sessions.values()
    return [state.owner for state in states if state.identifier == identifier and state.owner is not None]


def _last_sequence(folder: Path, identifier: str) -> int:
    lines = folder / "frames.jsonl"
    with output_errors(folder):
        numbers = {
            number
            for number, state in read_records(folder / "sessions.jsonl").sessions.items()
            if state.identifier == identifier
        }
        if not numbers:
            return -1
        # The other process may have ended between writing a line and syncing it; frames that count are on the disk.
        descriptor = os.open(lines, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
            size_bytes = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        index = read_index(folder / "index.json", size_bytes)
        last = [state.last_sequence for number, state in index.sessions.items() if number in numbers]
        last += [sequence for number, sequence, _, _ in read_lines(lines, index.frames_bytes) if number in numbers]
    return max(last, default=-1)
