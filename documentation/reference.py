"""Generates the reference pages from the code: SDK, command, requests, messages and settings."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields
from types import SimpleNamespace
from typing import Any, cast

import zipcast
from access.rate_limits import Rules
from documentation.pages import shown_file
from http_bridge.app import Bridge, build
from http_bridge.documentation import Schema, schemas
from operator_cli.config import settings_classes
from service.settings import LimitSettings
from zipcast.cli.app import all_commands
from zipcast.cli.command_groups import load
from zipcast.client.settings import ClientSettings
from zipcast.clock import SystemClock
from zipcast.protocol.messages.service import ServiceDescription
from zipcast.protocol.verbs import VERBS, VerbSpec

EXAMPLES = ("miner.py", "validator.py", "validator_duckdb.py", "http_only.py", "curl.sh", "node/miner.js")
MIN_COMMON_USES = 10
_REF = "#/components/schemas/"


def generated() -> dict[str, str]:
    """Return the generated pages as {page of the site: Markdown}."""
    description = _openapi()
    messages = dict(description["components"]["schemas"])
    over_nats = [spec for spec in VERBS.values() if spec.over_nats]
    for mode, models in (
        ("validation", [spec.request for spec in over_nats]),
        ("serialization", [spec.reply for spec in over_nats]),
    ):
        messages = schemas(models, cast(Any, mode)) | messages
    return {
        "reference/sdk.md": _sdk(),
        "reference/command.md": _commands(),
        "reference/http.md": _http(description),
        "reference/nats.md": _nats(),
        "reference/messages.md": _messages(messages),
        "reference/settings.md": _settings(),
        "examples.md": _examples(),
    }


def _sdk() -> str:
    """Return directives from which mkdocstrings makes the reference of all public names."""
    lines = ["# SDK", "", "All of these names are imported from `zipcast`, for example `zipcast.connect`."]
    sections: dict[str, list[str]] = {"Client": [], "Errors": [], "Messages": []}
    for name in zipcast.__all__:
        module = getattr(getattr(zipcast, name), "__module__", "")
        if module.startswith("zipcast."):
            is_error = name.endswith("Error") or name == "ErrorCode"
            section = "Errors" if is_error else "Client" if ".client." in module else "Messages"
            sections[section].append(f"{module}.{name}")
    sections["The older client's methods"] = ["zipcast.legacy"]
    sections["A fake service for tests"] = ["zipcast.testing"]
    for section, names in sections.items():
        lines += ["", f"## {section}"]
        for name in sorted(names, key=lambda name: name[name.rindex(".") + 1 :].lower()):
            lines += ["", f"::: {name}"]
    return "\n".join(lines) + "\n"


def _commands() -> str:
    lines = [
        "# Command",
        "",
        "Every command has `--help` and `--json`. Exit status: 0 done, 1 failed, 2 wrong usage, 3 refused, "
        "4 unavailable, 5 not verified. Commands of the operator are in the distribution `zipcast-server`.",
    ]
    runnable = [(one, load(one)) for one in all_commands() if one.where]
    uses = Counter(_option(option) for _, command in runnable for option in command.params)
    common = [option for option, number in uses.items() if number >= MIN_COMMON_USES]
    lines += ["", "These options have the same meaning in all commands that have them:", ""]
    lines += _table(("option", "meaning"), common)
    role = ""
    for one, command in runnable:
        if one.role != role:
            role = one.role
            lines += ["", f"## {role}"]
        lines += ["", f"### zipcast {one.path}", "", _plain(command.help or ""), ""]
        lines += ["```sh", f"zipcast {one.example}", "```", ""]
        own = [option for option in map(_option, command.params) if option not in common]
        lines += _table(("option", "meaning"), own)
    return "\n".join(lines) + "\n"


def _option(option: Any) -> tuple[str, str]:
    names = ", ".join(f"`{name}`" for name in option.opts if name.startswith("-"))
    argument = f"`{option.metavar or option.name.upper()}`"
    return names or argument, option.help or ""


def _http(description: Schema) -> str:
    lines = ["# HTTP", "", re.sub(r"^#", "##", description["info"]["description"], flags=re.M)]
    # Turn links into plain text, because they lead to pages of the bridge, which this site does not have.
    lines[-1] = re.sub(r"\[(/\w*)\]\(/\w*\)", r"`\1`", lines[-1])
    lines += ["", "## Requests", "", "[Errors](../errors.md) says what to do about each error."]
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            lines += ["", f"### {method.upper()} {path}", "", f"**{operation['summary']}.** "]
            lines += [operation.get("description", ""), ""]
            named = [
                (f"`{one['name']}`", one["in"], one.get("description", ""))
                for one in operation.get("parameters", [])
            ]
            lines += _table(("parameter", "in", "meaning"), named)
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body is not None:
                lines += [f"Body: {_kind(body['schema'])}.", ""]
            codes: list[str] = []
            for status, reply in operation["responses"].items():
                content = reply.get("content", {}).get("application/json")
                if status == "200" and content is not None:
                    lines += [f"Reply: {_kind(content['schema'])}.", ""]
                codes += (content or {}).get("examples", ()) if status >= "400" else ()
            lines += [f"Errors: {_codes(codes)}.", ""]
    return "\n".join(lines) + "\n"


def _openapi() -> Schema:
    """Return the bridge's own description. Nothing is behind the endpoints, because no request is sent."""
    described = ServiceDescription.model_construct(network="", netuid=0, signers=(), servers=(), http=None)
    parts = {
        "pipeline": SimpleNamespace(clock=SystemClock()),
        "limits": SimpleNamespace(rules=Rules.of(LimitSettings())),
        "description": described,
    }
    others = dict.fromkeys(field.name for field in fields(Bridge))
    return build(cast(Bridge, SimpleNamespace(**(others | parts)))).openapi()


def _nats() -> str:
    lines = [
        "# NATS",
        "",
        "`{hotkey}` is the sender's address. [Connecting](../protocol.md#connecting) and "
        "[Requests](../protocol.md#requests) explain how to connect and how to sign. [Errors](../errors.md) "
        "says what to do about each error.",
    ]
    for verb, spec in VERBS.items():
        if not spec.over_nats:
            continue
        prefix = "zipcast.admin.v1" if spec.who == "admin" else "zipcast.v1"
        lines += ["", f"## {verb}", "", f"**{spec.title}.** {spec.text}", ""]
        lines += [
            f"- Subject: `{prefix}.{{hotkey}}.{verb}`",
            f"- Who: {'every registered hotkey' if spec.who == 'hotkey' else f'{spec.who}s'}",
            f"- Request: {_name(spec.request.__name__)}, at most {spec.max_body_bytes // 1024} KB",
            f"- Reply: {_name(spec.reply.__name__)}",
            f"- Limit: {_limit(spec)}",
            f"- Errors: {_codes(spec.errors)}",
        ]
    return "\n".join(lines) + "\n"


def _codes(codes: Iterable[str]) -> str:
    return ", ".join(f"`{code}`" for code in sorted(codes))


def _limit(spec: VerbSpec) -> str:
    if spec.limit is None:
        return "no separate limit"
    seconds = int(spec.limit.window.total_seconds())
    window = {60: "minute", 3600: "hour", 86400: "day"}[seconds]
    default = LimitSettings.model_fields[spec.limit.setting].default
    return f"{default} per {window} and hotkey (`{spec.limit.setting.upper()}`)"


def _messages(messages: Schema) -> str:
    lines = [
        "# Messages",
        "",
        "The JSON of requests and replies. In bodies that you send, names may also be in snake_case.",
    ]
    for name, schema in sorted(messages.items()):
        lines += ["", f"## {name}", "", _plain(schema.get("description", "")), ""]
        required = schema.get("required", [])
        rows = [
            (
                f"`{field}`",
                _kind(one),
                one.get("description", "") + ("" if field in required else " *(optional)*"),
            )
            for field, one in schema.get("properties", {}).items()
        ]
        lines += _table(("field", "type", "meaning"), rows) if rows else [f"{_kind(schema)}", ""]
    return "\n".join(lines) + "\n"


def _name(name: str) -> str:
    return f"[`{name}`](messages.md#{name.lower()})"


def _kind(schema: Schema) -> str:
    """Return the type of a value in words."""
    if "$ref" in schema:
        return _name(schema["$ref"].removeprefix(_REF))
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(map(_kind, schema[key])))
    if "const" in schema or "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "any")


def _settings() -> str:
    found: dict[str, tuple[list[str], Any]] = {}
    for process, one in settings_classes().items():
        for name, field in one.model_fields.items():
            found.setdefault(name.upper(), ([], field))[0].append(process)
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for name, (processes, field) in found.items():
        default = "required" if field.is_required() else _default(field.get_default())
        groups.setdefault(", ".join(processes), []).append((f"`{name}`", default, field.description or ""))
    lines = [
        "# Settings",
        "",
        "Each process reads its settings from environment variables. `zipcast config example` prints them as "
        "a file, and `zipcast config check PROCESS` checks them.",
        "",
        "## Clients",
        "",
        "Variables of miners and validators. Arguments of `connect` take precedence.",
        "",
    ]
    client = ClientSettings.model_fields.items()
    rows = [
        (f"`ZIPCAST_{name.upper()}`", _default(one.get_default()), one.description or "")
        for name, one in client
    ]
    lines += _table(("variable", "default", "meaning"), rows)
    for readers, settings in groups.items():
        lines += [f"## {readers}", "", *_table(("variable", "default", "meaning"), settings)]
    return "\n".join(lines) + "\n"


def _default(value: object) -> str:
    return "" if value in (None, "") else f"`{value}`"


def _examples() -> str:
    lines = ["# Examples", "", "The tests run each of these programs against the whole service."]
    for name in EXAMPLES:
        lines += ["", f"## {name}", "", shown_file(f"examples/{name}")]
    return "\n".join(lines) + "\n"


def _plain(docstring: str) -> str:
    """Return the paragraphs of a docstring without line breaks inside."""
    return "\n\n".join(" ".join(part.split()) for part in docstring.split("\n\n"))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table and an empty line, or nothing without rows."""
    found = list(rows)
    lines = (head, ("---",) * len(head), *found)
    return [*(f"| {' | '.join(map(_cell, row))} |" for row in lines), ""] if found else []


def _cell(text: str) -> str:
    """Return the text on one line. A pipe would end the cell, except in code."""
    parts = " ".join(text.split()).split("`")
    return "`".join(part if number % 2 else part.replace("|", "&#124;") for number, part in enumerate(parts))
