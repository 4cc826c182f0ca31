"""Reading back what was written: many writers wait, one search answers them all.

A status tells only what the directory confirmed. Reading each account after its own write would cost the directory a search a write;
collected over a few hundredths of a second, a hundred accounts cost one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence

from adsync.core.changes import Add, Change, Modify, Move
from adsync.core.entries import Entry
from adsync.directory.directory import Directory
from adsync.errors import DirectoryError

_COLLECT_SECONDS = 0.005
_COLLECT_BUSY_SECONDS = 0.5  # while more is being written: a directory that adds forty a second would else be searched as often
_MOST = 100  # terms in one search
_SOON_SECONDS = 5.0  # how long after its end a write may wait to be read back


class ReadBack:
    """`take` gets every entry that came back; `busy` tells how many writes are under way or about to be."""

    def __init__(self, directory: Directory, take: Callable[[Entry], None], busy: Callable[[], int]) -> None:
        self._writing = busy
        self._directory = directory
        self._take = take
        self._asked: list[tuple[str, str, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None
        self._own: dict[str, float] = {}  # what we write, by GUID, or by DN while it has none that we know → until when (loop time)

    @contextlib.contextmanager
    def writing(self, change: Change) -> Iterator[None]:
        """Around a write that is going to be read back."""
        if not isinstance(change, (Add, Modify, Move)):
            yield
            return
        key = str(change.dn).casefold() if isinstance(change, Add) else change.guid
        self._own[key] = float("inf")
        try:
            yield
        except BaseException:
            self._own.pop(key, None)  # it may have been read back meanwhile, for another reason
            raise
        self._own[key] = asyncio.get_running_loop().time() + _SOON_SECONDS

    def awaits(self, guid: str, dn: str) -> bool:
        """Whether this object is being written by us and not yet read back: then there is no need to read it because it has changed."""
        for key in (guid, dn.casefold()):
            if (until := self._own.get(key)) is not None:
                if until > asyncio.get_running_loop().time():
                    return True
                del self._own[key]
        return False

    async def by_sam(self, sam: str) -> None:
        """Return once the account of that name, if there is one, has been read after now."""
        await self._ask(sam, "")

    async def by_guid(self, guid: str) -> None:
        await self._ask("", guid)

    async def _ask(self, sam: str, guid: str) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asked.append((sam, guid, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        await future

    async def _run(self) -> None:
        try:
            while self._asked:
                await self._collect()
                batch, self._asked = self._asked[:_MOST], self._asked[_MOST:]
                try:
                    entries = await self._directory.find(
                        sams=[sam for sam, _, _ in batch if sam], guids=[guid for _, guid, _ in batch if guid]
                    )
                except DirectoryError as error:
                    self._fail(batch, error)
                    continue
                for entry in entries:
                    self._own.pop(entry.guid, None)
                    self._own.pop(str(entry.dn).casefold(), None)
                    self._take(entry)
                for _, _, future in batch:
                    if not future.done():
                        future.set_result(None)
        finally:
            self._task = None

    async def _collect(self) -> None:
        """Wait for company: shortly where nothing else is being written, else until there is nobody left to wait for."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _COLLECT_BUSY_SECONDS
        await asyncio.sleep(_COLLECT_SECONDS)
        while len(self._asked) < _MOST and self._writing() and loop.time() < until:  # noqa: ASYNC110
            await asyncio.sleep(_COLLECT_SECONDS * 2)

    def _fail(self, batch: Sequence[tuple[str, str, asyncio.Future[None]]], error: DirectoryError) -> None:
        for _, _, future in batch:
            if not future.done():
                future.set_exception(error)
