"""The example of an environment file, made from the settings classes: every variable, what it means, what it
defaults to. Pure. A test keeps `.env.example` equal to it.
"""

from collections.abc import Mapping

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from service.settings import EnvironmentSettings

Processes = Mapping[str, type[EnvironmentSettings]]

HEADER = """\
# Every setting of every process, for development: made by `zipcast config example`, held to by a test.
# A line with a value must be set, or differs from the default here; a commented line shows the default.
# Secrets stand empty: `zipcast keys init` makes them. Check what you wrote: `zipcast config check PROCESS`.
"""


def render(processes: Processes) -> str:
    """Variables that several processes read stand once, before those that one process reads."""
    readers: dict[str, list[str]] = {}
    fields: dict[str, FieldInfo] = {}
    for process, settings in processes.items():
        for name, field in settings.model_fields.items():
            readers.setdefault(name, []).append(process)
            fields.setdefault(name, field)
    sections = [HEADER]
    for group in sorted({tuple(names) for names in readers.values()}, key=lambda names: (-len(names), names)):
        mine = [name for name, names in readers.items() if tuple(names) == group]
        sections.append(f"# ==== {', '.join(group)}")
        sections += [_entry(name, fields[name], group, processes) for name in mine]
    return "\n".join(sections)


def _entry(name: str, field: FieldInfo, group: tuple[str, ...], processes: Processes) -> str:
    lines = [f"# {field.description}"]
    own = {process: _text(processes[process].model_fields[name].default) for process in group}
    if len(set(own.values())) > 1:
        lines.append("# default: " + ", ".join(f"{text} ({process})" for process, text in own.items()))
        return "\n".join([*lines, f"# {name.upper()}=", ""])
    if field.examples:
        lines.append(f"{name.upper()}={field.examples[0]}")
    elif field.is_required():
        lines.append(f"{name.upper()}=")
    else:
        lines.append(f"# {name.upper()}={own[group[0]]}")
    return "\n".join([*lines, ""])


def _text(default: object) -> str:
    if default is None:
        return ""
    return default.get_secret_value() if isinstance(default, SecretStr) else str(default)
