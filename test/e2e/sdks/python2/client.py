"""The client of the matrix on version 2 of the Python SDK, which speaks both eras."""

import asyncio
import json
import logging
import sys
import time
import warnings

from mcp import Client, StdioServerParameters, types

NOTE = "note://shared"
MODERN = "2026-07-28"
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")


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
    note = f"{alias}+{NOTE}" if alias else NOTE

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
        if isinstance(message, types.ResourceUpdatedNotification):
            updates.append(str(message.params.uri))

    async def progressed(done: float, _total, _message) -> None:
        progress.append(done)

    if "url" in job:
        target = job["url"]
    else:
        command, *args = job["command"]
        target = StdioServerParameters(command=command, args=args, env=job.get("env"))
    client = Client(
        target,
        mode=MODERN if job["era"] == "modern" else "legacy",
        logging_callback=logged,
        log_level="info",
        elicitation_callback=asked,
        message_handler=heard,
        cache=None,
    )

    async def connect() -> str:
        await client.__aenter__()
        # A pinned client does not speak to its server before the first call.
        await client.list_tools()
        return client.protocol_version

    def text(result: types.CallToolResult) -> str:
        return "".join(getattr(each, "text", "") for each in result.content)

    async def call(name: str, arguments: dict | None = None, **more) -> str:
        return text(await client.call_tool(prefix + name, arguments or {}, **more))

    async def work() -> str:
        if job["era"] == "legacy" and client.server_capabilities.logging is not None:
            await client.set_logging_level("info")
        said = await call("work", progress_callback=progressed)
        await until(lambda: logs and len(progress) == 2, 1)
        return said

    async def subscribe() -> str:
        if job["era"] == "legacy":
            await client.subscribe_resource(note)
            await call("change")
            await until(lambda: updates, 2)
            return ",".join(updates)
        async with client.listen(resource_subscriptions=[note]) as stream:
            await call("change")
            async with asyncio.timeout(2):
                return str((await anext(stream)).uri)

    async def prompt() -> str:
        result = await client.get_prompt(prefix + "greet", {"name": "Ada"})
        return "".join(getattr(each.content, "text", "") for each in result.messages)

    async def tools() -> str:
        return ",".join(sorted(tool.name for tool in (await client.list_tools()).tools))

    async def read() -> str:
        contents = (await client.read_resource(note)).contents
        return "".join(getattr(each, "text", "") for each in contents)

    async def given(what) -> str:
        return ",".join(str(each) for each in what)

    connected = await step("connect", connect, 20)
    try:
        if not connected:
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
    finally:
        await client.__aexit__(None, None, None)


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
