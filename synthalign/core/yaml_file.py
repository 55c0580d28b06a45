"""YAML as DVC reads it, and a file of phrases as a checked object, with errors that name file and every wrong key."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.constructor import ConstructorError, SafeConstructor

from synthalign.core import text_file
from synthalign.core.errors import UserError, together, wrong_keys

F = TypeVar("F", bound=BaseModel)


def load(text: str) -> Any:
    """What a text says in YAML 1.2, as DVC reads params.yaml: 1e-05 and 010 are numbers, `on` and 1:30 are texts.

    YAML 1.1, which PyYAML reads, has it the other way round.  Raises YAMLError of ruamel.yaml, for a key that stands
    there twice, a day that no calendar has, and an alias within what it stands for too.
    """
    parser = YAML(typ="safe")
    parser.Constructor = _Constructor
    try:
        found = parser.load(text)
        if place := _within_itself(found):
            raise YAMLError(f"{place} holds itself; write out what it shall hold")
    except RecursionError as error:
        raise YAMLError("nested too deeply") from error
    return found


class _Constructor(SafeConstructor):
    """ruamel.yaml's, with line and column where a value is not of its type; it raises whatever its parts do."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (YAMLError, RecursionError):
            raise
        except Exception as error:
            kind = node.tag.rpartition(":")[2]
            raise ConstructorError(
                problem=f"{node.value!r} is no {kind} ({error})", problem_mark=node.start_mark
            ) from error


def _within_itself(value: Any, place: str = "", above: tuple[int, ...] = ()) -> str:
    """The place of a mapping or list that holds itself; none is ''."""
    if id(value) in above:
        return place
    within = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    places = (_within_itself(inner, f"{place}.{key}".lstrip("."), (*above, id(value))) for key, inner in within)
    return next(filter(None, places), "")


def read(file: str | Path, form: type[F], *, example: str) -> F:
    """The file as `form`; UserError with the wrong keys at once.

    example  a file of the same form to compare with
    """
    content = keys(file, example=example)
    try:
        return form.model_validate(content)
    except ValidationError as error:
        raise together(wrong_keys(error, str(file), step=f"compare with {example}")) from error


def keys(file: str | Path, *, example: str) -> dict[Any, Any]:
    """The file's keys and values, not yet checked; UserError when it cannot be read or has none."""
    try:
        content = load(text_file.read(file, step=f"compare with {example}"))
    except YAMLError as error:
        raise UserError(f"{file}: cannot be read ({error}); compare with {example}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: has no keys; compare with {example}")
    return content
