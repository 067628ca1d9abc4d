"""Options that several verbs share, given to each by a decorator: one list of them, and the verb takes what they come to as one value."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, get_type_hints

from typer.core import TyperCommand

Verb = Callable[..., None]


class SpacedCommand(TyperCommand):
    """A verb whose options with a metavar that ends in `...` take several words: `--timeframes 1h 4h` is `--timeframes 1h --timeframes 4h`.

    What begins with a dash ends them, so such an option stands behind a verb's own arguments.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click does, with each word behind the option's name again."""
        spaced = {name for p in self.params if (getattr(p, "metavar", None) or "").endswith("...") for name in p.opts if name[:1] == "-"}
        spread: list[str] = []
        option: str | None = None
        is_named = False  # the option's name stands last, its word is to come
        for k, word in enumerate(args):
            if word == "--":
                spread += args[k:]
                break
            if word.startswith("-"):
                option, is_named = (word if word in spaced else None), word in spaced
            elif option is not None and not is_named:
                spread.append(option)
            else:
                is_named = False
            spread.append(word)
        return super().parse_args(ctx, spread)


def shared_options(provider: Callable[..., Any], name: str, *, left_out: Collection[str] = ()) -> Callable[[Verb], Verb]:
    """Give a verb the options that are the parameters of provider: they stand behind its own in --help, before --json.

    The verb takes provider's answer as `name`. left_out: parameters that keep their default, without an option.
    """

    def decorate(verb: Verb) -> Verb:
        shared = dict(inspect.signature(provider).parameters)
        own = {key: p for key, p in inspect.signature(verb).parameters.items() if key != name}
        last = [p for key, p in own.items() if key == "as_json"]
        first = [p for key, p in own.items() if key != "as_json"]
        parameters = [*first, *(p for key, p in shared.items() if key not in left_out), *last]

        @functools.wraps(verb)
        def wrapper(**given: Any) -> None:
            taken = {key: p.default if key in left_out else given.pop(key, p.default) for key, p in shared.items()}
            verb(**{name: provider(**taken)}, **given)

        hints = {**get_type_hints(provider, include_extras=True), **get_type_hints(verb, include_extras=True)}
        del wrapper.__wrapped__  # typer would look through it
        keyword = inspect.Parameter.KEYWORD_ONLY
        typed = [p.replace(annotation=hints[p.name], kind=keyword) for p in parameters]
        wrapper.__signature__ = inspect.Signature(typed)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: hints[p.name] for p in parameters}
        return wrapper

    return decorate
