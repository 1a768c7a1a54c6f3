"""The async twin of Reranker: the same calls, awaited, at most so many at once."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

from rerank_kit.client.ranking import Ranking, Rankings
from rerank_kit.client.reranker import Reranker
from rerank_kit.client.texts import whole_number

T = TypeVar("T")


class AsyncReranker:
    """Reranker for asyncio. The work runs in threads of its own on the same transport, so that
    retries, limits and errors are the same ones.

    concurrency: calls under way at once; more wait their turn. The other arguments are those of
    Reranker. A cancelled call is no longer waited for; a request already sent runs to its end on
    the server. Use `async with`, or close it with aclose().
    """

    def __init__(self, url: str | None = None, *, concurrency: int = 8, **settings: Any) -> None:
        whole_number("concurrency", concurrency)
        self._reranker = Reranker(url, **settings)
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="arerank")

    def __repr__(self) -> str:
        return f"AsyncReranker({self._reranker.url!r})"

    async def rank(self, *args: Any, **kwargs: Any) -> Ranking:
        """Reranker.rank(), awaited."""
        return await self._in_thread(self._reranker.rank, *args, **kwargs)

    async def rank_many(self, *args: Any, **kwargs: Any) -> Rankings:
        """Reranker.rank_many(), awaited."""
        return await self._in_thread(self._reranker.rank_many, *args, **kwargs)

    async def score(self, *args: Any, **kwargs: Any) -> list[float]:
        """Reranker.score(), awaited."""
        return await self._in_thread(self._reranker.score, *args, **kwargs)

    async def aclose(self) -> None:
        """Wait for what is under way, then let the connections go."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        self._reranker.transport.close()

    async def __aenter__(self) -> AsyncReranker:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _in_thread(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        loop = asyncio.get_running_loop()
        call = functools.partial(work, *args, **kwargs)
        return await loop.run_in_executor(self._threads, call)
