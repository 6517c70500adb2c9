"""The manifest's static reply in the form of an SDK's answer: to the user's code it is any other answer."""

from __future__ import annotations

import time
from typing import Any

_ID = "prodkit-static-reply"


def openai(model: str, text: str, *, stream: bool) -> Any:
    """A chat completion of the openai SDK, or its chunks."""
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    common = {"id": _ID, "created": int(time.time()), "model": model}
    message = {"role": "assistant", "content": text}
    if not stream:
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return ChatCompletion.model_validate({**common, "object": "chat.completion", "choices": [choice]})
    choice = {"index": 0, "finish_reason": "stop", "delta": message}
    return [ChatCompletionChunk.model_validate({**common, "object": "chat.completion.chunk", "choices": [choice]})]


def anthropic(model: str, text: str, *, stream: bool) -> Any:
    """A message of the anthropic SDK, or its events."""
    from anthropic import types

    empty = {"id": _ID, "type": "message", "role": "assistant", "model": model, "content": []}
    usage = {"input_tokens": 0, "output_tokens": 0}
    if not stream:
        said = {"content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage}
        return types.Message.model_validate({**empty, **said})
    block = {"type": "text", "text": ""}
    delta = {"type": "text_delta", "text": text}
    ending = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}
    return [
        types.RawMessageStartEvent.model_validate({"type": "message_start", "message": {**empty, "usage": usage}}),
        types.RawContentBlockStartEvent.model_validate(
            {"type": "content_block_start", "index": 0, "content_block": block}
        ),
        types.RawContentBlockDeltaEvent.model_validate({"type": "content_block_delta", "index": 0, "delta": delta}),
        types.RawContentBlockStopEvent.model_validate({"type": "content_block_stop", "index": 0}),
        types.RawMessageDeltaEvent.model_validate(ending),
        types.RawMessageStopEvent.model_validate({"type": "message_stop"}),
    ]


def litellm(model: str, text: str, *, stream: bool) -> Any:
    """A response of litellm, or its chunks."""
    from litellm import ModelResponse, ModelResponseStream

    made = openai(model, text, stream=stream)
    if not stream:
        return ModelResponse(**made.model_dump())
    return [ModelResponseStream(**chunk.model_dump()) for chunk in made]
