"""The sentences of the made-up support tickets, by what the ticket is really about.

A shop sells smart lamps and a subscription app for them. Some sentences of each label borrow another label's words
("the refund for the parcel"), as people do; a classifier that only counts words gets those wrong.
"""

from __future__ import annotations

LABELS = ("billing", "bug", "access", "shipping", "other")

PRODUCTS = ("Aria floor lamp", "Nord desk lamp", "Lumen strip", "Halo ceiling light", "Oak bedside lamp", "Lumen hub")
PLANS = ("Home plan", "Studio plan", "Family plan", "yearly plan", "monthly plan")
DEVICES = ("iPhone", "Android phone", "tablet", "laptop", "office PC")
PLACES = ("kitchen", "living room", "office", "hallway", "workshop")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "the weekend")

SUBJECTS: dict[str, tuple[str, ...]] = {
    "billing": (
        "Wrong amount on invoice",
        "Charged twice?",
        "Refund",
        "Question about my bill",
        "VAT number",
        "Payment",
    ),
    "bug": ("App crashes", "Lamp does not react", "Error message", "Not working since update", "Strange behaviour"),
    "access": ("Cannot sign in", "Password", "Locked out", "Account", "Code never arrives", "New colleague"),
    "shipping": ("Where is my parcel?", "Delivery", "Broken on arrival", "Wrong address", "Order still not here"),
    "other": ("Question", "Feedback", "Which one should I buy?", "Opening hours", "Partnership", "Thank you"),
}
VAGUE_SUBJECTS = (
    "Help please",
    "Question",
    "Urgent",
    "Problem",
    "Your reply",
    "Re: Re: my request",
    "Hello",
    "Complaint",
)

OPENINGS = (
    "Hello,",
    "Hi there,",
    "Good morning,",
    "Dear team,",
    "Hi,",
    "Good afternoon,",
    "To whom it may concern,",
    "",
    "",
    "",
    "I wrote last week already.",
    "Sorry to bother you again.",
    "Second attempt to reach somebody.",
)
CLOSINGS = (
    "Please get back to me.",
    "Thanks in advance.",
    "Kind regards",
    "Can somebody look into this?",
    "Thank you!",
    "I would be glad about a quick answer.",
    "Best wishes",
    "Please advise.",
    "",
    "",
    "",
    "Waiting for your call.",
    "This is getting tiresome.",
    "No hurry, but it would be nice to know.",
)

PLAIN: dict[str, tuple[str, ...]] = {
    "billing": (
        "The invoice for the {plan} shows {amount} EUR although we agreed on less.",
        "You debited {amount} EUR from my card two times on {day}.",
        "I cancelled the {plan} in spring and my card was charged again.",
        "Our bookkeeping needs the bill with our VAT number on it, the PDF has none.",
        "The discount code was accepted but the receipt shows the full price of {amount} EUR.",
        "You promised a refund of {amount} EUR for the {product} and nothing has come in on my account so far.",
        "Please change the payment method of the {plan} from card to direct debit.",
        "There is a reminder fee on the latest bill, yet I paid within ten days.",
        "Why was I charged more for the {plan} this month than last month?",
        "I need a corrected invoice, the company name is misspelt.",
        "The credit note for the returned {product} is missing in our books.",
        "My bank rejected your direct debit and now you want extra fees for it.",
    ),
    "bug": (
        "Since the update the app crashes as soon as I open the {place} scene.",
        "The {product} flickers whenever it is dimmed below a third.",
        "An error message pops up on my {device}: something went wrong, code 4012.",
        "The timer switches the {product} on an hour late since {day}.",
        "The button for scenes does nothing and then an error appears, on the {device} and on the web.",
        "The colours in the app do not match what the {product} shows.",
        "The hub restarts itself every night and loses all schedules.",
        "The app only shows a white screen after the start on my {device}, it never loads.",
        "Voice control turns on the wrong room, it did work before the new version.",
        "The firmware update of the {product} stops at 80 percent and then fails.",
        "Exporting the energy report freezes the page, tried in three browsers.",
        "The {product} drops off the network several times a day and the app then shows an error.",
    ),
    "access": (
        "I can't log in on my {device}, it says that the password is wrong.",
        "The link for resetting the password has expired every time I open the mail.",
        "My account is locked after too many attempts.",
        "The six-digit code for the login never arrives on my phone.",
        "A new colleague needs a user with permission for the {place}.",
        "I changed my e-mail address and now I cannot log in any more.",
        "Please remove the access of a former employee from our team account.",
        "Two-factor is on but I lost the old phone, how do I get back into my account?",
        "The invitation for my wife to join our home was never delivered to her inbox.",
        "The app logs me out every few minutes and wants my password to log in again.",
        "Our single sign-on says that I have no permission for the admin area.",
        "Who is the owner of our company account? I have to be made administrator.",
    ),
    "shipping": (
        "My {product} was meant to arrive on {day}, the tracking has not moved since.",
        "The parcel with the {product} was left at a neighbour whom nobody knows.",
        "The {product} arrived with a cracked shade, the box was dented.",
        "Please send the order to our new address, we moved to another street.",
        "Only one of two boxes was delivered, the {product} is missing.",
        "The carrier says that the address is incomplete and sends the parcel back.",
        "How long does delivery to Austria take at the moment?",
        "I got a {product} but I ordered something else, how do I return it?",
        "The courier did not ring and took the package away again.",
        "Tracking says delivered, but there is no parcel here.",
        "Can the order be held back until we return from holiday after {day}?",
        "The return label for the {product} cannot be scanned at the post office.",
    ),
    "other": (
        "Which bulb fits the {product}, warm white if possible?",
        "Do you have a showroom where one can look at the {product}?",
        "Your colleague on the phone was very friendly, please pass on my thanks.",
        "We are a small magazine and would like to write about the {product}.",
        "A general question: is the {product} suitable for a damp room?",
        "What are your opening hours on {day}?",
        "Please take my address off the newsletter list.",
        "Do you offer internships in your design team next summer?",
        "How much power does the {product} need when it is off?",
        "Would you consider a lamp for children? We would buy three at once.",
        "Could you tell me where the wood for the {product} comes from?",
        "We would like to furnish a hotel with about forty lamps, whom do I talk to?",
    ),
}

# what the ticket is about is said with the words of another label
CROSSED: dict[str, tuple[str, ...]] = {
    "billing": (
        "The parcel with the {product} went back to you three weeks ago and the money is still with you.",
        "Express delivery was booked and paid, it came by normal post, so I want the difference back.",
        "The app showed an error at the checkout and still took {amount} EUR.",
        "I can't open the bill in my account, please mail it to me.",
    ),
    "bug": (
        "After entering my password the app shows an empty home, all lamps are gone.",
        "The order page hangs when I press pay, on the {device} and on the web.",
        "The price in the app jumps between two amounts each time the page is loaded.",
        "Since it was delivered the {product} blinks three times and does nothing else.",
    ),
    "access": (
        "The page with my invoices is empty because I am no longer seen as a member of the team.",
        "The app throws an error and then asks for a code that I do not have.",
        "I paid for the {plan} but the features are still locked for my user.",
        "The confirmation mail does not arrive, so I cannot get to my orders.",
    ),
    "shipping": (
        "I was charged for two lamps but there was only one in the box.",
        "The account page says that my order is complete, nobody has brought anything yet.",
        "The {product} does not work, it was damaged on its way to us, please replace it.",
        "Where do I enter another delivery address, the form does not let me in?",
    ),
    "other": (
        "Do you deliver the {product} without a plug for the Swiss market?",
        "What does the {plan} include beyond the free version?",
        "Is there a way to use the lamps without an account at all?",
        "Will the app support the new {device} some day?",
    ),
}

ASIDES = (
    "We have used your lamps since 2021 and were content until now.",
    "My neighbour has the same in the {place}.",
    "The order number is on the attached sheet.",
    "You reach me at {email}.",
    "My number is {phone}.",
    "I tried it again on {day}.",
    "It concerns the {place}.",
    "The hotline kept me waiting for half an hour.",
    "A photo is attached.",
    "This is the third message about it.",
)
BANK_ASIDES = ("My bank account is {iban}.", "The card ends with 1111, the whole number is {card}.")
