"""The server of the matrix on version 1 of the Python SDK: `server.py stdio|http`."""

import asyncio
import os
import sys

from mcp.server.fastmcp import Context, FastMCP
from pydantic import AnyUrl, BaseModel

NOTE = "note://shared"


class Person(BaseModel):
    name: str


server = FastMCP(
    "python1",
    host=os.environ.get("HOST", "127.0.0.1"),
    port=int(os.environ.get("PORT", "0")),
    log_level="ERROR",
)


@server.tool()
def add(a: int, b: int) -> str:
    return str(a + b)


@server.tool()
async def work(ctx: Context) -> str:
    for step in (1, 2):
        await ctx.report_progress(step, 2)
    await ctx.info("working")
    # Clients of TypeScript drop what comes in one piece with the answer.
    await asyncio.sleep(0.05)
    return "done"


@server.tool()
async def ask(ctx: Context) -> str:
    answer = await ctx.elicit("Who are you?", Person)
    return f"Hello {answer.data.name}" if answer.action == "accept" else answer.action


@server.tool()
async def change(ctx: Context) -> str:
    await ctx.session.send_resource_updated(AnyUrl(NOTE))
    return "changed"


@server.resource(NOTE)
def note() -> str:
    return "a note"


@server.prompt()
def greet(name: str) -> str:
    return f"Greet {name}"


# The SDK says that it does not subscribe, and takes the request from servers that do.
@server._mcp_server.subscribe_resource()
async def subscribe(uri: AnyUrl) -> None: ...


@server._mcp_server.unsubscribe_resource()
async def unsubscribe(uri: AnyUrl) -> None: ...


@server._mcp_server.set_logging_level()
async def set_level(level: str) -> None: ...


server.run("stdio" if sys.argv[1] == "stdio" else "streamable-http")
