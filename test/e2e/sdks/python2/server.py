"""The server of the matrix on version 2 of the Python SDK: `server.py stdio|http [stateless]`."""

import asyncio
import os
import sys
from typing import Annotated

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.types import EmptyResult, SubscribeRequestParams, UnsubscribeRequestParams
from pydantic import BaseModel

NOTE = "note://shared"
MODERN = "2026-07-28"


class Person(BaseModel):
    name: str


server = MCPServer("python2", version="1", log_level="ERROR")


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


def who() -> Elicit[Person]:
    return Elicit("Who are you?", Person)


@server.tool()
async def ask(person: Annotated[Person, Resolve(who)]) -> str:
    return f"Hello {person.name}"


@server.tool()
async def change(ctx: Context) -> str:
    if ctx.protocol_version == MODERN:
        await ctx.notify_resource_updated(NOTE)
    else:
        await ctx.session.send_resource_updated(NOTE)
    return "changed"


@server.resource(NOTE)
def note() -> str:
    return "a note"


@server.prompt()
def greet(name: str) -> str:
    return f"Greet {name}"


async def agree(_context, _params) -> EmptyResult:
    return EmptyResult()


lowlevel = server._lowlevel_server
lowlevel.add_request_handler("resources/subscribe", SubscribeRequestParams, agree)
lowlevel.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, agree)

if sys.argv[1] == "stdio":
    server.run("stdio")
else:
    server.run(
        "streamable-http",
        host=os.environ.get("HOST", "127.0.0.1"),
        port=int(os.environ.get("PORT", "0")),
        stateless_http="stateless" in sys.argv,
    )
