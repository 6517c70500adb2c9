"""Made-up support tickets with their right labels: what the simulated provider learned from, and what tests can send.

Everything here is invented. The same seed always gives the same tickets; about one in twelve is hard on purpose (it
speaks of two subjects), so that a classifier's accuracy is a figure that moves and never a flat hundred per cent.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

LABELS = ("billing", "bug", "access", "shipping", "other")

_SUBJECTS: dict[str, tuple[str, ...]] = {
    "billing": (
        "I was charged twice for {month}, please refund one of the two payments",
        "the invoice {number} shows the wrong VAT number",
        "my credit card was declined although there is money on it",
        "why did the price of my subscription go up by {amount} euros",
        "I cancelled the plan in {month} and you still took {amount} euros from my bank account",
        "could you send the receipt for order {number} to our accounting department",
        "the discount code from your newsletter was not taken off the bill",
        "we need to change the billing address and the payment method to direct debit",
        "there is an unknown charge of {amount} dollars on my card statement",
        "I would like my money back, the refund for {number} has not arrived",
        "our purchase order number is missing on the last three invoices",
        "we were billed for {count} seats but use only half of them",
        "the annual fee was debited before the trial ended",
        "please explain the overage cost of {amount} on this month's statement",
        "I paid by bank transfer and still got a payment reminder",
        "can you switch us from monthly to yearly payment",
        "the credit note for the returned {product} is missing",
        "tax is calculated for the wrong country on my bill",
    ),
    "bug": (
        "the app crashes when I open the {screen}",
        "saving a {thing} ends with error {code}",
        "the {screen} stays blank after the last update",
        "the export to Excel produces a corrupt file with {count} empty rows",
        "search gives no results although the {thing} exists",
        "the page loads forever and then shows a timeout",
        "since version 4.{count} the button for a new {thing} does nothing",
        "the numbers on the {screen} don't add up, the total is wrong",
        "notifications are sent three times for every {thing}",
        "the synchronisation stops at {count} per cent and freezes",
        "uploading a picture fails with a server error",
        "dates are shown in the wrong time zone in the {screen}",
        "the {screen} is broken in Firefox, the menu overlaps the text",
        "dragging a {thing} throws an exception and loses my changes",
        "the API answers 500 when the list is longer than {count} items",
        "the mobile app drains the battery and becomes very slow",
        "filters on the {screen} are ignored, this is clearly a defect",
        "the printer dialog hangs until I restart the software",
    ),
    "access": (
        "I forgot my password and the reset e-mail never arrives",
        "my account is locked after too many attempts to log in",
        "the two-factor code is not accepted on my new phone",
        "please give our new colleague permission for the {screen}",
        "I can't sign in, it says user unknown",
        "single sign-on with our company login stopped working",
        "how do I change the e-mail address of my user account",
        "the invitation link for the team has expired",
        "a former employee still has access, please remove his user",
        "I get access denied when I open the {screen}",
        "the login page asks for a verification code that I never receive",
        "please unlock the user for our branch office, the password is expired",
        "I need administrator rights to add {count} users",
        "my session ends after one minute and I have to log in again",
        "the authenticator app was deleted, how do I get into my account",
        "our role should be allowed to see the {screen} but we lack permission",
        "we can't register, the confirmation link says invalid token",
        "please close my account and delete my login",
    ),
    "shipping": (
        "where is my parcel, the tracking for {number} has not moved for days",
        "the {product} arrived damaged, the box was crushed",
        "you delivered the wrong {product}, I ordered another size",
        "the courier left the package with a neighbour that I don't know",
        "the delivery was promised for {month} and nothing has come",
        "can I still change the delivery address of order {number}",
        "one of the {count} boxes is missing from the shipment",
        "how long does dispatch to Norway take",
        "please send a return label for the {product}",
        "the tracking page says delivered but I have received nothing",
        "customs is holding the package and asks for papers",
        "the {product} was out of stock, when will it be shipped",
        "nobody rang and the driver took the parcel back to the depot",
        "I want to exchange the {product}, where do I send it",
        "express delivery was booked and it came a week late",
        "the warehouse sent {count} pieces instead of two",
        "the pallet was unloaded at the wrong warehouse gate",
        "half of the order {number} was not in the carton",
    ),
    "other": (
        "do you have an office in {city}, we would like to visit",
        "are you hiring, I would like to send my application",
        "your support was really friendly last week, thank you",
        "is there a partner programme for resellers in {city}",
        "we are writing an article and would like an interview",
        "which certificates for data protection do you hold",
        "do you plan to support the {product} in a future version",
        "I have an idea for a new feature: a dark theme for the evening",
        "where can I find the handbook and the training videos",
        "what are your opening hours over the holidays",
        "please take me off the newsletter list",
        "can we get a demo for {count} people from our school",
        "is your product suitable for a small museum in {city}",
        "I would like to talk with someone from sales about a partnership",
        "happy new year to the whole team from {city}",
        "how sustainable is your packaging and your company",
        "please forward this compliment to the colleague who helped us",
        "does your webinar in {month} have an English translation",
    ),
}
_OPENERS = (
    "",
    "",
    "",
    "Hello, ",
    "Hi there, ",
    "Dear team, ",
    "Good morning, ",
    "Quick question: ",
    "Second time that I write: ",
    "Urgent! ",
    "Sorry to bother you again, ",
)
_CLOSERS = (
    "",
    "",
    "",
    " Please help.",
    " Thanks in advance.",
    " This is the second time.",
    " It is urgent, we can't work.",
    " Kind regards",
    " I am really disappointed.",
    " Call me back please.",
    " Can you look into it today?",
    " Our customer {number}.",
)
_SLOTS: dict[str, tuple[str, ...]] = {
    "month": ("January", "March", "May", "June", "August", "October", "December"),
    "number": ("10482", "A-2291", "77310", "55-0193", "B8841", "2026-118"),
    "amount": ("12", "49.90", "129", "8.50", "240", "1,200"),
    "count": ("3", "7", "12", "25", "40", "99"),
    "product": ("lamp", "keyboard", "coffee machine", "backpack", "monitor", "headset", "scanner"),
    "screen": ("dashboard", "report", "calendar", "settings page", "customer list", "archive"),
    "thing": ("contact", "ticket", "note", "project", "task", "document"),
    "code": ("E-104", "0x8007", "502", "NullPointer", "422"),
    "city": ("Vienna", "Lyon", "Porto", "Leeds", "Utrecht", "Graz"),
}


@dataclass(frozen=True, slots=True)
class Ticket:
    """A made-up support ticket and the label that a careful person would give it."""

    text: str
    label: str


def tickets(count: int, *, seed: int) -> list[Ticket]:
    """`count` invented tickets; the same seed gives the same tickets."""
    rng = random.Random(seed)  # noqa: S311  reproducible examples, no secret
    return [_ticket(rng) for _ in range(count)]


def _ticket(rng: random.Random) -> Ticket:
    label = rng.choice(LABELS)
    text = rng.choice(_SUBJECTS[label])
    if rng.random() < 1 / 12:
        text += ", and by the way " + rng.choice(_SUBJECTS[rng.choice(LABELS)])
    opener = rng.choice(_OPENERS)
    text = opener + (text if opener.endswith(", ") else text[0].upper() + text[1:]) + "." + rng.choice(_CLOSERS)
    return Ticket(_fill(text, rng), label)


def _fill(text: str, rng: random.Random) -> str:
    return re.sub(r"\{(\w+)\}", lambda slot: rng.choice(_SLOTS[slot[1]]), text)
