"""The client of the matrix on version 1 of the Python SDK, which speaks legacy versions only."""

import asyncio
import json
import logging
import sys
import time
from contextlib import AsyncExitStack

from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client
from pydantic import AnyUrl

NOTE = "note://shared"
logging.disable(logging.CRITICAL)


async def until(holds, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        await asyncio.sleep(0.02)


async def run(job: dict) -> None:
    logs: list[str] = []
    progress: list[float] = []
    updates: list[str] = []
    # At a virtual server, the names of the server's items begin with its alias.
    alias = job.get("alias")
    prefix = f"{alias}_" if alias else ""
    note = AnyUrl(f"{alias}+{NOTE}" if alias else NOTE)

    async def step(name: str, work, seconds: float) -> bool:
        said: dict = {"job": job["name"], "step": name}
        try:
            async with asyncio.timeout(seconds):
                said["saw"] = await work()
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            said["failed"] = f"{type(error).__name__}: {error}"[:300]
        print(json.dumps(said), flush=True)
        return "saw" in said

    async def logged(params: types.LoggingMessageNotificationParams) -> None:
        logs.append(str(params.data))

    async def asked(_context, _params) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def heard(message) -> None:
        if isinstance(message, types.ServerNotification) and isinstance(
            message.root, types.ResourceUpdatedNotification
        ):
            updates.append(str(message.root.params.uri))

    async def progressed(done: float, _total, _message) -> None:
        progress.append(done)

    async with AsyncExitStack() as stack:
        session: ClientSession

        async def connect() -> str:
            nonlocal session
            if "url" in job:
                transport = streamablehttp_client(job["url"])
            else:
                command, *args = job["command"]
                parameters = StdioServerParameters(command=command, args=args, env=job.get("env"))
                transport = stdio_client(parameters)
            read, write, *_ = await stack.enter_async_context(transport)
            session = await stack.enter_async_context(
                ClientSession(
                    read,
                    write,
                    logging_callback=logged,
                    elicitation_callback=asked,
                    message_handler=heard,
                )
            )
            return str((await session.initialize()).protocolVersion)

        def text(result: types.CallToolResult) -> str:
            return "".join(getattr(each, "text", "") for each in result.content)

        async def call(name: str, arguments: dict | None = None, **more) -> str:
            return text(await session.call_tool(prefix + name, arguments or {}, **more))

        async def level() -> None:
            if session.get_server_capabilities().logging is not None:
                await session.set_logging_level("info")

        async def work() -> str:
            await level()
            said = await call("work", progress_callback=progressed)
            await until(lambda: logs and len(progress) == 2, 1)
            return said

        async def subscribe() -> str:
            await session.subscribe_resource(note)
            await call("change")
            await until(lambda: updates, 2)
            return ",".join(updates)

        async def prompt() -> str:
            result = await session.get_prompt(prefix + "greet", {"name": "Ada"})
            return "".join(getattr(each.content, "text", "") for each in result.messages)

        async def tools() -> str:
            return ",".join(sorted(tool.name for tool in (await session.list_tools()).tools))

        async def read() -> str:
            return "".join(
                getattr(each, "text", "") for each in (await session.read_resource(note)).contents
            )

        async def given(what) -> str:
            return ",".join(str(each) for each in what)

        if not await step("connect", connect, 20):
            return
        await step("list", tools, 5)
        await step("call", lambda: call("add", {"a": 2, "b": 3}), 5)
        await step("work", work, 8)
        await step("progress", lambda: given(map(int, progress)), 1)
        await step("log", lambda: given(logs), 1)
        await step("ask", lambda: call("ask"), 8)
        await step("read", read, 5)
        await step("subscribe", subscribe, 8)
        await step("prompt", prompt, 5)


async def main() -> None:
    for job in json.load(sys.stdin):
        end = {"job": job["name"], "step": "close", "saw": "closed"}
        try:
            async with asyncio.timeout(90):
                await run(job)
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            del end["saw"]
            end["failed"] = f"{type(error).__name__}: {error}"[:300]
        print(json.dumps(end), flush=True)


asyncio.run(main())
