"""Prints the decisive values that Python's json module sees, one line for each message text in base64."""

import base64
import json
import sys

PATHS = (
    ("id",),
    ("method",),
    ("params", "name"),
    ("params", "uri"),
    ("params", "requestId"),
    ("params", "_meta", "progressToken"),
)


class Number(str):
    """A number as it stands in the text."""


def at(value, path):
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return ""
        value = value[name]
    return shown(value)


def shown(value):
    if isinstance(value, Number):
        return "n" + value
    if isinstance(value, str):
        return "s" + value.encode("utf-16-be", "surrogatepass").hex()
    if value is None or isinstance(value, bool):
        return "l" + json.dumps(value)
    return "o"


def seen(text):
    try:
        message = json.loads(text, parse_int=Number, parse_float=Number)
    except (ValueError, RecursionError):
        return "!"
    messages = message if isinstance(message, list) else [message]
    return "|".join(",".join(at(each, path) for path in PATHS) for each in messages)


sys.stdout.write("".join(seen(base64.b64decode(line)) + "\n" for line in sys.stdin))
