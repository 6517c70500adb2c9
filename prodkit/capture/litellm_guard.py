"""litellm's calls as one each: it talks to many providers past the SDKs, so it is guarded where users call it."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any

import wrapt

from prodkit.capture import autolog, replay
from prodkit.capture.calls import Call
from prodkit.capture.context import current_run, current_stamp, one_call, within_call
from prodkit.capture.sending import Sender
from prodkit.resilience.call import STATIC

if TYPE_CHECKING:
    from collections.abc import Callable

    from prodkit.capture.runs import OpenRun
    from prodkit.resilience import Target

KINDS = {"completion": "CHAT_MODEL", "text_completion": "LLM", "embedding": "EMBEDDING", "responses": "CHAT_MODEL"}
_CONNECTION = frozenset(
    {"api_key", "api_base", "base_url", "headers", "extra_headers", "client", "timeout", "num_retries"}
)


def patch() -> None:
    """Put the guard around litellm, now or when it is imported."""
    wrapt.register_post_import_hook(_wrap, "litellm")


def _wrap(module: Any) -> None:
    for name in KINDS:
        if hasattr(module, name):
            wrapt.wrap_function_wrapper(module, name, _guarded)
        if hasattr(module, f"a{name}"):
            wrapt.wrap_function_wrapper(module, f"a{name}", _aguarded)


def _guarded(wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
    from prodkit.capture.guard import conduct

    args, kwargs = _as_variant(wrapped.__name__, args, kwargs)
    call = _begin(wrapped.__name__, args, kwargs)
    return wrapped(*args, **kwargs) if call is None else conduct(call, LitellmSender, wrapped, None, args, kwargs)


async def _aguarded(wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
    from prodkit.capture.guard import aconduct

    args, kwargs = _as_variant(wrapped.__name__.removeprefix("a"), args, kwargs)
    call = _begin(wrapped.__name__.removeprefix("a"), args, kwargs)
    if call is None:
        return await wrapped(*args, **kwargs)
    return await aconduct(call, LitellmSender, wrapped, None, args, kwargs)


def _as_variant(name: str, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The call with the model of the comparison's variant that is running."""
    run = None if within_call() else current_run()
    stead = run.stead if run is not None else None
    if stead is None or not stead.variant.model or name == "embedding":
        return args, kwargs
    model = stead.variant.model
    return ((model, *args[1:]), kwargs) if args else (args, {**kwargs, "model": model})


def _begin(name: str, args: Any, kwargs: dict[str, Any]) -> Call | None:
    run = None if within_call() or kwargs.get("acompletion") or kwargs.get("aembedding") else current_run()
    if run is None:
        if replay.is_on() and not within_call():
            raise replay.missing(None)
        return None
    _tell_retries(run, kwargs)
    body = _body(args, kwargs)
    named = run.manifest.model_named(str(body.get("model") or ""))
    model, provider = _resolve(str(body.get("model") or ""), kwargs)
    body["model"] = model
    call = Call(run, current_stamp().over(run.stamp), named.provider if named else provider, body, known_host=True)
    call.streamed = bool(body.get("stream"))
    call.own(KINDS.get(name, "LLM"))
    return call


def _tell_retries(run: OpenRun, kwargs: dict[str, Any]) -> None:
    """Say once where litellm repeats what the manifest's policy repeats already."""
    if not run.manifest.resilience.enabled:
        return
    if getattr(sys.modules["litellm"], "num_retries", None) or kwargs.get("retry_policy"):
        run.note("litellm repeats each attempt by itself, which can't be switched off per call: unset its num_retries.")
    elif kwargs.get("num_retries"):
        run.note(
            "litellm's num_retries is not used here: the manifest's `resilience` decides how often a call is tried."
        )


def _body(args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The request without how it is sent. Positional arguments are the model and the content."""
    body = {name: value for name, value in kwargs.items() if name not in _CONNECTION and value is not None}
    return body | dict(zip(("model", "messages"), args, strict=False))


def _resolve(model: str, kwargs: dict[str, Any]) -> tuple[str, str]:
    """Litellm's `provider/model` as the two."""
    litellm = sys.modules["litellm"]
    try:
        base = kwargs.get("api_base") or kwargs.get("base_url")
        bare, provider, *_ = litellm.get_llm_provider(model, kwargs.get("custom_llm_provider"), base)
    except Exception:  # it raises what it likes for a model that it doesn't know
        provider, _, bare = model.rpartition("/")
    return str(bare), str(provider)


class _Proxy(wrapt.ObjectProxy):  # type: ignore[type-arg]  # not generic at run time in wrapt 1
    """litellm's stream, its chunks coming past our reader."""

    def __init__(self, stream: Any, reader: Any) -> None:
        super().__init__(stream)
        self._self_reader = reader

    def __iter__(self) -> Any:
        return iter(self._self_reader)

    def __next__(self) -> Any:
        return next(self._self_reader)

    def __aiter__(self) -> Any:
        return aiter(self._self_reader)

    async def __anext__(self) -> Any:
        return await anext(self._self_reader)


class LitellmSender(Sender):
    """Does the attempts of one call through litellm; its own retries are off, and other providers are a name to it."""

    def _prepare(self) -> None:
        self.asks_usage = self.call.streamed and not (self.call.body.get("stream_options") or {}).get("include_usage")

    def bare(self) -> Any:
        """The request as litellm would do it, without a policy."""
        return self._send(self._kwargs)

    def attempt(self, target: Target, timeout: float | None) -> Any:
        """One attempt at one target."""
        self.call.target = target
        own = self._kwargs.get("timeout")
        limits = [one for one in (own, timeout) if isinstance(one, int | float)]
        kwargs = {**self._kwargs, "max_retries": 0, "num_retries": 0}
        if limits:
            kwargs["timeout"] = min(limits)
        self._first_key = self._first_key or target.key
        if target.key != self._first_key:
            kwargs |= {
                "model": f"{target.provider}/{target.model}",
                "api_base": target.base_url or None,
                "api_key": None,
            }
        return self._send(kwargs)

    def refusal(self, target: Target) -> str:  # noqa: ARG002  litellm knows the keys of them all
        """Litellm goes to every provider, with the keys of the environment."""
        return ""

    def is_stream(self, answer: Any) -> bool:
        """Whether the answer comes in chunks."""
        return hasattr(answer, "__next__") or hasattr(answer, "__anext__")

    def answer(self, result: Any) -> Any:
        """Litellm's answers have OpenAI's shape."""
        return result

    def chunks(self, result: Any) -> Any:
        """The chunks of a stream; the first stream is kept for the user."""
        if self.first is None:
            self.first = result
        return result

    def deliver(self, reader: Any) -> Any:
        """What the user's line gets for a stream."""
        return reader if self.first is None else _Proxy(self.first, reader)

    def _static(self, text: str) -> Any:
        from prodkit.capture import replies

        self._note_resort(STATIC)
        return replies.litellm(self.call.model, text, stream=self.call.streamed)

    def _send(self, kwargs: dict[str, Any]) -> Any:
        if self.asks_usage:
            kwargs = {**kwargs, "stream_options": {**(kwargs.get("stream_options") or {}), "include_usage": True}}
        args = self._args
        if "model" in kwargs and args:  # another target than the one that was passed by position
            args = (kwargs.pop("model"), *args[1:])
        if self._asynchronous:
            return self._asend(args, kwargs)
        with ExitStack() as stack:
            self._enter(stack)
            return self._wrapped(*args, **kwargs)

    async def _asend(self, args: Any, kwargs: dict[str, Any]) -> Any:
        async with AsyncExitStack() as stack:
            self._enter(stack)
            return await self._wrapped(*args, **kwargs)

    @property
    def _asynchronous(self) -> bool:
        return self._wrapped.__name__.startswith("a")

    def _enter(self, stack: Any) -> None:
        stack.enter_context(one_call())
        if self.call.span is not None:
            stack.enter_context(autolog.active(self.call.span))
