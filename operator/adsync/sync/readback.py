"""Reading back what was written: many writers wait, one search answers them all.

A status tells only what the directory confirmed. Reading each account after its own write would cost the directory a search a write;
collected over a few hundredths of a second, a hundred accounts cost one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from adsync.core.entries import Entry
from adsync.directory.directory import Directory
from adsync.errors import DirectoryError

_COLLECT_SECONDS = 0.03
_MOST = 100  # terms in one search


class ReadBack:
    """`take` gets every entry that came back."""

    def __init__(self, directory: Directory, take: Callable[[Entry], None]) -> None:
        self._directory = directory
        self._take = take
        self._asked: list[tuple[str, str, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        return self._task is not None

    async def settled(self, seconds: float) -> None:
        """Return when nothing is being read back, or after so many seconds."""
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=seconds)

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
                await asyncio.sleep(_COLLECT_SECONDS)
                batch, self._asked = self._asked[:_MOST], self._asked[_MOST:]
                try:
                    entries = await self._directory.find(
                        sams=[sam for sam, _, _ in batch if sam], guids=[guid for _, guid, _ in batch if guid]
                    )
                except DirectoryError as error:
                    self._fail(batch, error)
                    continue
                for entry in entries:
                    self._take(entry)
                for _, _, future in batch:
                    if not future.done():
                        future.set_result(None)
        finally:
            self._task = None

    def _fail(self, batch: Sequence[tuple[str, str, asyncio.Future[None]]], error: DirectoryError) -> None:
        for _, _, future in batch:
            if not future.done():
                future.set_exception(error)
