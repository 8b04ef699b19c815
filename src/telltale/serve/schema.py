"""What the API's schema says beyond what the routes' types do."""

from typing import Any

from telltale.catalog import cards
from telltale.loading import ALL, task_of
from telltale.serve.forms import Problem

_SAID = {
    400: "The form or a setting cannot be used.",
    401: "The token is missing or wrong.",
    404: "There is no such job.",
    409: "The job is not in a state for that.",
    413: "Too many bytes or files.",
    429: "The queue is full; Retry-After says when to come again.",
    501: "This server's machine has no browser to print with.",
    507: "The disk is full.",
}
PICTURE = {"type": "string", "format": "binary", "minLength": 1}


def body(file: dict[str, Any]) -> dict[str, Any]:
    """What a route receives, for the schema: a form's part ``file`` or a whole body."""
    form = {"type": "object", "required": ["file"], "properties": {"file": file}}
    return {
        "requestBody": {
            "required": True,
            "description": "A form with files, or one file as the body (X-Filename names it).",
            "content": {
                "multipart/form-data": {"schema": form},
                "application/octet-stream": {"schema": PICTURE},
            },
        }
    }


def refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer instead, for the schema."""
    return {code: {"model": Problem, "description": _SAID[code]} for code in (401, *codes)}


def task_schema(schema: dict[str, Any]) -> None:
    """Only what this installation has weights for can be asked."""
    tasks = sorted({task_of(card) for card in cards().values() if card.weights})
    schema.update({"enum": [*tasks, ALL, None], "examples": ["faces"]})
