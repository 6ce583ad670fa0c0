"""The reference of all settings, from the pydantic models and the presets."""

from __future__ import annotations

import types
from importlib import resources
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gasmcast.config import PRESETS, Config
from gasmcast.errors import UsageError
from gasmcast.runtime.live_settings import LiveConfig, with_settings

from generators.markdown import code, escape, first_paragraph, page, plain, table

__all__ = ["settings_page"]

_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_WORDS = {int: "integer", float: "number", str: "text", bool: "true or false", type(None): "null"}


def settings_page() -> str:
    """Return the reference of `Config` (training and model), `LiveConfig` and the presets."""
    about = (
        "Generated from the pydantic models. An unknown key is an error that names the nearest "
        "known one."
    )
    training = (
        "Keys of a preset or YAML file for `train`, `cache`, `calibrate` and `ablate`; on the "
        "command line `--set section.name=value`. The defaults are those of the preset `ssv2`, "
        "which sets only `train.epochs` and `train.batch_size`."
    )
    live = (
        "Keys of `--config live.yaml` and of `settings` of a camera in `@cameras.yaml`; "
        "`deploy/live.yaml` has most of them with their defaults. A key marked \\* holds for all "
        "cameras together, so a camera cannot have its own."
    )

    parts = ["# Settings", about, "## Training and model", training]
    for section, field in Config.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        parts += [f"### `{section}`", escape(first_paragraph(model)), _settings(model, section)]
    parts += ["## Live", live, _settings(LiveConfig, "")]

    # Presets are short, so their files are shown whole.
    parts += ["## Presets", "A preset states only what differs from the defaults above."]
    for name in PRESETS:
        text = resources.files("gasmcast").joinpath(f"presets/{name}.yaml").read_text("utf-8")
        parts += [f"### `{name}`", f"```yaml\n{text.strip()}\n```"]
    return page(*parts)


def _settings(model: type[BaseModel], section: str) -> str:
    rows = []

    # Training settings are written with their section, as on the command line.
    for name, field in model.model_fields.items():
        key = f"{section}.{name}" if section else name
        mark = " \\*" if model is LiveConfig and _is_shared(name) else ""
        default = plain(field.get_default(call_default_factory=True))
        rows.append((code(key) + mark, _type(field), code(default), field.description))
    return table(("setting", "type", "default", "meaning"), rows)


def _is_shared(name: str) -> bool:
    """Return whether a live setting is refused as a camera's own."""
    try:
        with_settings(LiveConfig(), {name: getattr(LiveConfig(), name)}, "camera")
    except UsageError:
        return True
    return False


def _type(field: FieldInfo) -> str:
    """Return a field's type and bounds in words: `integer, >= 1`."""
    bounds = []
    for limit in field.metadata:
        for attribute, sign in _SIGNS.items():
            if hasattr(limit, attribute):
                bounds.append(f"{sign} {getattr(limit, attribute):g}")
    return ", ".join([_words(field.annotation), *bounds])


def _words(annotation: Any) -> str:  # noqa: ANN401 - any type annotation
    origin, arguments = get_origin(annotation), get_args(annotation)

    # Closed sets and unions first: their members are described one by one.
    if origin is Literal:
        return ", ".join(code(one) for one in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(one) for one in arguments)

    # Containers, then plain types.
    if origin is tuple:
        many = "list of" if arguments[-1] is Ellipsis else f"{len(arguments)} x"
        return f"{many} {_words(arguments[0])}"
    if origin is dict:
        return f"mapping of {_words(arguments[0])} to {_words(arguments[1])}"
    return _WORDS.get(annotation, annotation.__name__)
