"""Functions wrapped where they are defined, for what Python's audit hook can't see or doesn't see enough of.

A wrapper is a plain function, so that the wrapped one can still be pickled by name and asked for its signature. While
no watch is open it costs one call.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import threading
from typing import TYPE_CHECKING, Any

from prodkit.capture.lineage import sight
from prodkit.capture.lineage.frames import shape
from prodkit.capture.lineage.readers import PLACES, READERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Note = Callable[[tuple[Any, ...], dict[str, Any], Any], None]

_MANY = 10_000  # paths in one call


class _Inside(threading.local):
    """How many wrapped calls this thread is in."""

    depth = 0


_inside = _Inside()
_OPENERS = ("pyarrow.OSFile", "pyarrow.memory_map")


def install() -> None:
    """Wrap what is imported already, and the rest when it is imported."""
    from prodkit.capture.lineage.clients import PATCHES

    for module in dict.fromkeys(readers.module for readers in READERS):
        patch_module(module, _wrap_readers)
    for name, patch in PATCHES.items():
        patch_module(name, patch)


def patch_module(name: str, patch: Callable[[Any], None]) -> None:
    """Call `patch` with a module: now where it is imported, or as soon as it is."""
    import wrapt

    if name in sys.modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)  # waits for another thread that is in the middle of importing it
    wrapt.register_post_import_hook(patch, name)


def _wrap_readers(module: Any) -> None:
    for readers in READERS:
        if readers.module == module.__name__:
            owner = getattr(module, readers.owner, None) if readers.owner else module
            for name in readers.names:
                kind = f"{module.__name__.split('.')[0]}.{readers.owner or name}"
                note = functools.partial(_note_place, readers.context, readers.skip, kind)
                wrap(owner, name, note, seen_through=readers.module == "duckdb")


def wrap(owner: Any, name: str, note: Note, *, seen_through: bool = False) -> None:
    """Put a wrapper in the place of `owner.name`, and of the same function in the module that defines it.

    `seen_through` is for functions that look at their caller's variables: they find them as if there were no wrapper.
    """
    original = getattr(owner, name, None)
    if original is None or hasattr(original, "__prodkit_lineage__"):
        return
    wrapper = _wrapper(original, note, _call_for_caller if seen_through else _call)
    try:
        setattr(owner, name, wrapper)
    except (AttributeError, TypeError):
        return  # a type of C that can't be changed
    home = sys.modules.get(getattr(original, "__module__", None) or "")
    if home is not None and home.__dict__.get(name) is original:
        setattr(home, name, wrapper)


def _wrapper(original: Callable[..., Any], note: Note, call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def observed(*args: Any, **kwargs: Any) -> Any:
        if not sight.is_watched():
            return call(original, args, kwargs)
        outer = _inside.depth
        _inside.depth = outer + 1
        try:
            result = call(original, args, kwargs)
        finally:
            _inside.depth = outer
        with contextlib.suppress(Exception):  # a missed read is less than a broken one
            note(args, kwargs, result)
        return result

    observed.__prodkit_lineage__ = True  # type: ignore[attr-defined]
    return observed


def _call(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return original(*args, **kwargs)


_CALL = compile("__prodkit_found__ = __prodkit_call__()", "<lineage>", "exec")


def _call_for_caller(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call from a frame that has the variables of the wrapper's caller: DuckDB looks for frames among them."""
    caller = sys._getframe(2)  # noqa: SLF001  there is no other way to them
    own = {} if caller.f_locals is caller.f_globals else dict(caller.f_locals)
    own["__prodkit_call__"] = functools.partial(original, *args, **kwargs)
    exec(_CALL, caller.f_globals, own)  # noqa: S102  a constant
    return own["__prodkit_found__"]


def _note_place(context: str, skip: int, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
    place = args[skip] if len(args) > skip else next((kwargs[name] for name in PLACES if name in kwargs), None)
    places = list(_each(place))
    # the outermost call knows the table best
    table = result if context == "input" or not args else args[0]
    rows, columns = shape(table) if not _inside.depth and len(places) == 1 else (None, ())
    for one in places:
        for way in _ways(args, kwargs) if kind in _OPENERS else (context,):
            sight.see_place(one, way, kind, rows, columns)


def _ways(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """What an opened file is for, by its mode: pandas writes Parquet to an `OSFile` of pyarrow."""
    mode = str(args[1] if len(args) > 1 else kwargs.get("mode", "r"))
    read, written = "r" in mode or "+" in mode, any(letter in mode for letter in "wa+")
    return ["input"] * read + ["output"] * written


def _each(place: Any) -> Iterable[Any]:
    return place[:_MANY] if isinstance(place, (list, tuple)) else () if place is None else (place,)
