"""The control socket, without a daemon behind it."""

from __future__ import annotations

import asyncio

from uidtraced.control import Control, ask


def test_an_answer_of_any_length_is_whole(tmp_path) -> None:
    async def main() -> None:
        for length in range(0, 1_000_000, 9_999):
            told = {"said": "x" * length}

            async def answer(told=told) -> dict[str, str]:
                return told

            control = Control({"what": answer}, tmp_path / "socket")
            await control.start()
            try:
                assert await asyncio.to_thread(ask, "what", tmp_path / "socket") == told
            finally:
                await control.stop()

    asyncio.run(main())
