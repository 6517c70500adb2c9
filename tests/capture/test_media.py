"""Pictures and sounds: recorded by kind, size and digest, priced by their own tokens, and never as they are."""

from __future__ import annotations

import base64
import io
import json
import threading
from decimal import Decimal
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from prodkit.capture import run
from prodkit.ledger import Ledger
from prodkit.ledger.audit import Audit

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
SOUND = b"RIFF" + bytes(range(255, -1, -1)) * 40
ENCODED = {"picture": base64.b64encode(PICTURE).decode(), "sound": base64.b64encode(SOUND).decode()}
SHOWN = {
    "picture": f"10,248 bytes, sha256 {sha256(PICTURE).hexdigest()}]",
    "sound": f"10,244 bytes, sha256 {sha256(SOUND).hexdigest()}]",
}
CHAT_USAGE = {
    "prompt_tokens": 1_000,
    "completion_tokens": 500,
    "total_tokens": 1_500,
    "prompt_tokens_details": {"audio_tokens": 800, "cached_tokens": 0},
    "completion_tokens_details": {"audio_tokens": 400, "reasoning_tokens": 0},
}
IMAGE_USAGE = {
    "input_tokens": 1_000,
    "output_tokens": 4_000,
    "total_tokens": 5_000,
    "input_tokens_details": {"text_tokens": 200, "image_tokens": 800},
}
HEARD_USAGE = {
    "type": "tokens",
    "input_tokens": 1_000,
    "output_tokens": 100,
    "total_tokens": 1_100,
    "input_token_details": {"text_tokens": 100, "audio_tokens": 900},
}


class Studio(BaseHTTPRequestHandler):
    """Answers as the vendors' endpoints for pictures and sounds do."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        kind, data = "application/json", b""
        if self.path.endswith("/audio/speech"):
            kind, data = "audio/wav", SOUND
        elif self.path.endswith(("/images/generations", "/images/edits")):
            data = json.dumps({"created": 1, "data": [{"b64_json": ENCODED["picture"]}], "usage": IMAGE_USAGE}).encode()
        elif self.path.endswith("/audio/transcriptions"):
            assert SOUND in body  # the file was sent whole
            data = json.dumps({"text": "Where is my parcel?", "usage": HEARD_USAGE}).encode()
            if b'name="response_format"\r\n\r\ntext' in body:
                kind, data = "text/plain", b"Where is my parcel?"
        elif self.path.endswith("/messages"):
            said = [{"type": "text", "text": "A parcel."}]
            usage = {"input_tokens": 10, "output_tokens": 5}
            head = {"id": "msg-sim-1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6"}
            data = json.dumps({**head, "content": said, "stop_reason": "end_turn", "usage": usage}).encode()
        else:
            sound = {"id": "audio-1", "data": ENCODED["sound"], "expires_at": 1, "transcript": "It is on its way."}
            message = {"role": "assistant", "content": None, "audio": sound}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            head = {"id": "c1", "object": "chat.completion", "created": 1, "model": json.loads(body)["model"]}
            data = json.dumps({**head, "choices": [choice], "usage": CHAT_USAGE}).encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("x-prodkit-simulated", "true")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments):
        """Stay silent."""


@pytest.fixture(scope="module")
def address():
    with ThreadingHTTPServer(("127.0.0.1", 0), Studio) as made:
        made.daemon_threads = True
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


@pytest.fixture
def studio(address):
    from openai import OpenAI

    with OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as made:
        yield made


def bytes_under(folder):
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def recorded(project, opened):
    """The one call as the journal has it, and its trace in MLflow as text, after nothing of the raw was found."""
    import mlflow

    assert Ledger.open(project).flush(60).pending == 0
    here = bytes_under(project.state)
    for raw in (PICTURE[100:200], SOUND[100:200], *(text[1000:1100].encode() for text in ENCODED.values())):
        assert raw not in here
    ((_, call, _),) = Audit(project).calls()
    (trace,) = mlflow.MlflowClient(project.tracking_uri).search_traces(locations=[opened.handle.experiment_id or "1"])
    for raw in ENCODED.values():
        assert raw[1000:1100] not in json.dumps([span.to_dict() for span in trace.data.spans], default=str)
    return call, json.dumps([span.to_dict() for span in trace.data.spans], default=str)


def test_a_picture_in_a_chat(here, studio):
    """A picture in a message is its kind, size and digest in journal and trace; the words around it stay."""
    project = here()
    url = f"data:image/png;base64,{ENCODED['picture']}"
    parts = [{"type": "text", "text": "What is on it?"}, {"type": "image_url", "image_url": {"url": url}}]
    with run("look") as opened:
        answer = studio.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.audio.data == ENCODED["sound"]  # the user's own answer is whole
    call, trace = recorded(project, opened)
    text, picture = call.prompt[0]["content"]
    assert text["text"] == "What is on it?"
    assert picture["image_url"]["url"] == f"[image/png, {SHOWN['picture']}"
    assert SHOWN["picture"] in trace


def test_a_picture_for_anthropic(here, address):
    """A picture as Anthropic takes it is described as well."""
    from anthropic import Anthropic

    project = here()
    source = {"type": "base64", "media_type": "image/png", "data": ENCODED["picture"]}
    with Anthropic(base_url=address, api_key="none", max_retries=0) as claude, run("look") as opened:
        claude.messages.create(
            model="claude-sonnet-4-6",
            max_tokens=10,
            messages=[{"role": "user", "content": [{"type": "image", "source": source}]}],
        )
    call, _ = recorded(project, opened)
    assert call.prompt[0]["content"][0]["source"]["data"] == f"[image/png, {SHOWN['picture']}"


def test_sound_in_and_out_of_a_chat(here, studio):
    """Sound that is sent and got is described, and its tokens have the price of sound."""
    project = here()
    sound = {"type": "input_audio", "input_audio": {"data": ENCODED["sound"], "format": "wav"}}
    with run("listen") as opened:
        studio.chat.completions.create(
            model="gpt-audio",
            modalities=["text", "audio"],
            audio={"voice": "alloy", "format": "wav"},
            messages=[{"role": "user", "content": [sound]}],
        )
    call, _ = recorded(project, opened)
    assert call.prompt[0]["content"][0]["input_audio"]["data"] == f"[audio/wav, {SHOWN['sound']}"
    assert call.response["choices"][0]["message"]["audio"]["data"] == f"[audio, {SHOWN['sound']}"
    assert call.response["choices"][0]["message"]["audio"]["transcript"] == "It is on its way."
    assert (call.usage.input_audio_tokens, call.usage.output_audio_tokens) == (800, 400)
    million = Decimal(1_000_000)  # text $2.50 and $10, sound $32 and $64
    assert call.cost.usd == (200 * Decimal("2.5") + 800 * 32 + 100 * 10 + 400 * 64) / million


def test_a_generated_picture(here, studio):
    """A picture that a model made is described, and priced by text and picture tokens apart."""
    project = here()
    with run("paint") as opened:
        answer = studio.images.generate(model="gpt-image-1", prompt="A parcel on a doorstep")
    assert answer.data[0].b64_json == ENCODED["picture"]
    call, _ = recorded(project, opened)
    assert call.prompt == "A parcel on a doorstep"
    assert call.response["data"][0]["b64_json"] == f"[image, {SHOWN['picture']}"
    assert call.cost.usd == (200 * 5 + 800 * 10 + 4_000 * Decimal(40)) / Decimal(1_000_000)


@pytest.mark.parametrize("how", ["bytes", "file"])
def test_a_transcription(here, studio, how):
    """An uploaded sound is named by its digest and sent whole; its tokens have the price of sound."""
    project = here()
    file = ("call.wav", SOUND, "audio/wav") if how == "bytes" else ("call.wav", io.BytesIO(SOUND))
    with run("hear") as opened:
        answer = studio.audio.transcriptions.create(model="gpt-4o-transcribe", file=file)
    assert answer.text == "Where is my parcel?"
    call, trace = recorded(project, opened)
    kind = "audio/wav" if how == "bytes" else "audio/x-wav"
    assert call.prompt == f"[{kind}, {SHOWN['sound']}"
    assert SHOWN["sound"] in trace
    assert call.usage.input_audio_tokens == 900
    assert call.cost.usd == (100 * Decimal("2.5") + 900 * 6 + 100 * 10) / Decimal(1_000_000)


def test_a_transcription_as_bare_text(here, studio):
    """A transcription that the SDK gives as a text comes through, without counts and so without a price."""
    project = here()
    with run("hear") as opened:
        answer = studio.audio.transcriptions.create(
            model="whisper-1", file=("call.wav", SOUND, "audio/wav"), response_format="text"
        )
    assert answer == "Where is my parcel?"
    call, _ = recorded(project, opened)
    assert (call.response, call.cost.status) == ("Where is my parcel?", "unpriced")


def test_speech(here, studio):
    """Spoken text is recorded with the text and the sound's digest, and is visibly unpriced without counts."""
    project = here()
    with run("speak") as opened:
        sound = studio.audio.speech.create(model="gpt-4o-mini-tts", voice="alloy", input="Your parcel is on its way.")
    assert sound.content == SOUND
    call, _ = recorded(project, opened)
    assert call.prompt == "Your parcel is on its way."
    assert call.response == f"[audio/wav, {SHOWN['sound']}"
    assert (call.cost.usd, call.cost.status) == (None, "unpriced")
    assert opened.summary().unpriced == 1


def test_an_edited_picture(here, studio):
    """The picture that is edited is an upload, too."""
    project = here()
    with run("edit") as opened:
        studio.images.edit(model="gpt-image-1", image=("a.png", PICTURE, "image/png"), prompt="Make it blue")
    call, _ = recorded(project, opened)
    assert call.prompt == {"prompt": "Make it blue", "image": f"[image/png, {SHOWN['picture']}"}
