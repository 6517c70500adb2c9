"""From a prompt to the simulated model's answer: find the ticket and the labels in it, classify, say it as asked."""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import dataclass, field
from typing import Any

from prodkit.testing.classifier import classify
from prodkit.testing.corpus import LABELS

_SYNONYMS: dict[str, tuple[str, ...]] = {
    "billing": ("billing", "invoice", "payment", "refund", "finance", "pricing", "charge", "account_billing"),
    "bug": ("bug", "technical", "error", "defect", "problem", "incident", "outage", "product issue"),
    "access": ("access", "login", "account", "password", "authentication", "security", "permission"),
    "shipping": ("shipping", "delivery", "logistics", "order", "shipment", "return"),
    "other": ("other", "general", "question", "feedback", "misc", "none", "unknown", "sales"),
}
_NEXT_STEPS = {
    "billing": "Our billing team is comparing the amounts with your invoices and corrects what is wrong.",
    "bug": "Our engineers are trying to see the same on their side; a screenshot would help them.",
    "access": "We are checking your account; for your safety we never ask for a password.",
    "shipping": "We have asked the carrier where it is, and send it again if it can't be found.",
    "other": "We have passed it on to the colleague who knows.",
}
_MARKER = re.compile(
    r"(?:^|\n)[ \t]*(?:\*\*)?(?:the )?(?:support )?(?:ticket|text|message|e-?mail|request|input|customer)"
    r"(?: text| message)?(?:\*\*)?[ \t]*:[ \t]*\n?",
    re.IGNORECASE,
)
_FENCED = re.compile(r"<(\w+)>\s*(.+?)\s*</\1>|\"\"\"\s*(.+?)\s*\"\"\"|```\w*\n(.+?)```", re.DOTALL)
_LISTED = re.compile(
    r"(?:one of|labels?|categor(?:y|ies)|classes|queues?|options|as|into|either)\b[^\n.:]{0,40}?[:\s]\s*"
    r"[\[({]?((?:[`'\"]?[\w /-]{2,30}?[`'\"]?\s*(?:,|\||/|;|\bor\b|\band\b)\s*){1,20}"
    r"(?:(?:or|and)\s+)?[`'\"]?[\w-]{2,30})",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*[-*]\s*[`'\"]?([\w-]{2,30})[`'\"]?\s*(?:[:(-].*)?$", re.MULTILINE)
_KEY = re.compile(
    r"[\"'`](\w{2,30})[\"'`]\s*:|\bkeys?\b[^.\n]*?[\"'`](\w{2,30})[\"'`](?:\s*(?:,|and)\s*[\"'`](\w{2,30})[\"'`])?"
)
_AFTERWARDS = re.compile(r"\n\s*\n?(?:answer|label|category|reply|respond|output|return)\b[^\n]*:?\s*$", re.IGNORECASE)
_URGENT = re.compile(r"urgent|asap|immediately|today|can't work|second time|disappointed|crash|down\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Question:
    """What a chat request asks for, without the provider's wire format."""

    model: str
    system: str
    user: str
    schema: dict[str, Any] | None = None  # JSON Schema of the answer, or of the forced tool's arguments
    wants_json: bool = False
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the simulated model thinks of the ticket."""

    label: str  # as the prompt spells it
    confidence: float
    ticket: str
    urgent: bool
    labels: tuple[str, ...] = field(default=())  # those that the prompt lists; empty when it lists none


def answer(question: Question) -> str:
    """The answer's text: a label, a JSON object, or a sentence, as the prompt asks."""
    judgement, asked = judge(question), question.system + question.user
    if question.schema is not None:
        return json.dumps(fill(question.schema, judgement))
    if question.wants_json or re.search(r"\bjson\b", asked, re.IGNORECASE):
        return json.dumps(_object(question, judgement))
    if judgement.labels or re.search(r"classif|categor|label|triage|route", asked, re.IGNORECASE):
        return judgement.label
    if re.search(r"\b(?:repl(?:y|ies)|draft|respon[ds])", asked, re.IGNORECASE):
        return _draft(judgement)
    return _sentence(judgement)


def judge(question: Question) -> Judgement:
    """Find the ticket and the labels, and choose one."""
    ticket = find_ticket(question.user)
    instructions = question.system + "\n" + question.user.replace(ticket, "")
    labels = _enumerated(question.schema) or find_labels(instructions)
    seen = classify(ticket, question.model)
    scores = {label: seen.get(meaning_of(label), 0.0) for label in labels} if labels else seen
    total = sum(scores.values()) or 1.0
    label = _choose(scores, question, ticket)
    return Judgement(label, round(scores[label] / total, 3), ticket, bool(_URGENT.search(ticket)), tuple(labels))


def find_ticket(user: str) -> str:
    """The ticket in a user message: what is fenced or follows a marker such as `Ticket:`, else its last paragraph."""
    fenced = list(_FENCED.finditer(user))
    if fenced:
        return next(part for part in fenced[-1].groups()[1:] if part).strip()
    marker = list(_MARKER.finditer(user))
    if marker and user[marker[-1].end() :].strip():
        return _until_instruction(user[marker[-1].end() :].strip())
    return user.strip().rsplit("\n\n", 1)[-1].strip()


def find_labels(instructions: str) -> list[str]:
    """The labels that a prompt lists, as it spells them; empty when it lists none that mean anything to us."""
    found: list[str] = []
    for match in _LISTED.finditer(instructions):
        names = re.split(r"\s*(?:,|\||/|;|\bor\b|\band\b)\s*", match[1])
        cleaned = [name.strip(" `'\"[](){}.").split(" ")[-1] for name in names]
        known = [name for name in cleaned if name and meaning_of(name)]
        if len(known) >= 2:  # noqa: PLR2004  one word alone is no list
            found.extend(known)
    found.extend(name for name in _BULLET.findall(instructions) if meaning_of(name))
    return list(dict.fromkeys(found))


def meaning_of(label: str) -> str:
    """Which of our five classes a label names; empty when none."""
    plain = label.lower().replace("-", " ").replace("_", " ").strip()
    for known, words in _SYNONYMS.items():
        if any(plain.startswith(word) or plain.endswith(word) for word in words) or plain == known + "s":
            return known
    return ""


def fill(schema: dict[str, Any], judgement: Judgement) -> Any:
    """A value of a JSON Schema that says the judgement; required and optional properties are all given."""
    if "$ref" in schema and "$defs" in schema:
        schema = {**schema["$defs"][schema["$ref"].rsplit("/", 1)[-1]], "$defs": schema["$defs"]}
    definitions = schema.get("$defs", {})
    properties: dict[str, Any] = schema.get("properties", {})
    return {name: _value(name, _resolve(kind, definitions), judgement) for name, kind in properties.items()}


def _value(name: str, kind: dict[str, Any], judgement: Judgement) -> Any:
    if "const" in kind:
        return kind["const"]
    if "enum" in kind:
        return _pick(kind["enum"], judgement)
    kind_name = kind.get("type", "string")
    if isinstance(kind_name, list):
        kind_name = next(part for part in kind_name if part != "null")
    if kind_name == "object":
        return fill(kind, judgement)
    if kind_name == "array":
        return [_value(name, _resolve(kind.get("items", {}), kind.get("$defs", {})), judgement)]
    if kind_name == "boolean":
        return judgement.urgent
    if kind_name == "number":
        return judgement.confidence
    if kind_name == "integer":
        return round(judgement.confidence * 100) if re.search(r"conf|score|percent", name) else 1 + 2 * judgement.urgent
    return _text_for(name, judgement)


def _text_for(name: str, judgement: Judgement) -> str:
    if re.search(r"label|categ|class|queue|topic|team|intent", name, re.IGNORECASE):
        return judgement.label
    if re.search(r"prior|urgen|sever", name, re.IGNORECASE):
        return "high" if judgement.urgent else "normal"
    if re.search(r"reason|explan|rational", name, re.IGNORECASE):
        return f"The wording is closest to {judgement.label}."
    return _gist(judgement.ticket)


def _pick(options: list[Any], judgement: Judgement) -> Any:
    if judgement.label in options:
        return judgement.label
    wanted = ("high", "urgent", "critical") if judgement.urgent else ("normal", "medium", "low")
    return next((option for word in wanted for option in options if word == str(option).lower()), options[0])


def _resolve(kind: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in kind:
        kind = definitions.get(kind["$ref"].rsplit("/", 1)[-1], {})
    if "anyOf" in kind:
        kind = next((part for part in kind["anyOf"] if part.get("type") != "null"), {})
        return _resolve(kind, definitions)
    return {**kind, "$defs": definitions}


def _enumerated(schema: dict[str, Any] | None) -> list[str]:
    """The labels of the first enum in the schema whose values mean something to us."""
    if not isinstance(schema, dict):
        return []
    own = [value for value in schema.get("enum", ()) if isinstance(value, str) and meaning_of(value)]
    if len(own) >= 2:  # noqa: PLR2004  one word alone is no list
        return own
    inner = [part for key in ("properties", "$defs") for part in schema.get(key, {}).values()]
    inner += [schema["items"]] if isinstance(schema.get("items"), dict) else []
    return next((labels for part in inner if (labels := _enumerated(part))), [])


def _object(question: Question, judgement: Judgement) -> dict[str, Any]:
    text = (question.system + "\n" + question.user).replace(judgement.ticket, "")
    names = list(dict.fromkeys(name for match in _KEY.findall(text) for name in match if name))
    if not names:
        return {"label": judgement.label, "confidence": judgement.confidence}
    numeric = re.compile(r"conf|score|prob|certain", re.IGNORECASE)
    return {name: judgement.confidence if numeric.search(name) else _text_for(name, judgement) for name in names}


def _sentence(judgement: Judgement) -> str:
    article = "an" if judgement.label[:1] in set("aeiou") else "a"
    return f"(simulated) This reads like {article} {judgement.label} request: {_gist(judgement.ticket)}"


def _draft(judgement: Judgement) -> str:
    soon = "today" if judgement.urgent else "within two working days"
    step = _NEXT_STEPS[meaning_of(judgement.label) or "other"]
    return (
        f'Hello, thank you for your message. You wrote: "{_gist(judgement.ticket)}" {step} '
        f"You will hear from us {soon}. (simulated reply)"
    )


def _gist(ticket: str) -> str:
    sentences = re.split(r"(?<=[.!?])\s+", ticket.strip())
    return max(sentences, key=lambda sentence: (len(set(sentence.lower().split())), sentence))[:200]


def _until_instruction(text: str) -> str:
    return _AFTERWARDS.split(text)[0]


def _choose(scores: dict[str, float], question: Question, ticket: str) -> str:
    best = max(scores, key=lambda label: scores[label])
    if question.temperature <= 0 or not any(scores.values()):
        return best
    sharp = {label: score ** (4 / question.temperature) for label, score in scores.items()}
    key = f"{question.seed}\0{question.model}\0{ticket}"
    rng = random.Random(hashlib.sha256(key.encode()).digest())  # noqa: S311  reproducible sampling, no secret
    return rng.choices(list(sharp), list(sharp.values()))[0] if sum(sharp.values()) else best


assert set(_SYNONYMS) == set(LABELS)  # noqa: S101  the two tables belong together
