"""Check digits: what tells an account or identity number from any other number."""

from __future__ import annotations

import ipaddress

# length of an IBAN by country, from the SWIFT registry
_IBAN_LENGTHS = {
    **dict.fromkeys(("NO",), 15),
    **dict.fromkeys(("BE",), 16),
    **dict.fromkeys(("DK", "FI", "FK", "FO", "GL", "NL", "SD"), 18),
    **dict.fromkeys(("MK", "SI"), 19),
    **dict.fromkeys(("AT", "BA", "EE", "KZ", "LT", "LU", "MN", "XK"), 20),
    **dict.fromkeys(("CH", "CR", "HR", "LI", "LV"), 21),
    **dict.fromkeys(("BG", "BH", "DE", "GB", "GE", "IE", "ME", "RS", "VA"), 22),
    **dict.fromkeys(("AE", "GI", "IL", "IQ", "OM", "SO", "TL"), 23),
    **dict.fromkeys(("AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN", "VG"), 24),
    **dict.fromkeys(("LY", "PT", "ST"), 25),
    **dict.fromkeys(("IS", "TR"), 26),
    **dict.fromkeys(("BI", "DJ", "FR", "GR", "IT", "MC", "MR", "SM"), 27),
    **dict.fromkeys(("AL", "AZ", "BY", "CY", "DO", "GT", "HN", "HU", "LB", "NI", "PL", "SV"), 28),
    **dict.fromkeys(("BR", "EG", "PS", "QA", "UA"), 29),
    **dict.fromkeys(("JO", "KW", "MU", "YE"), 30),
    **dict.fromkeys(("MT", "SC"), 31),
    **dict.fromkeys(("LC",), 32),
    **dict.fromkeys(("RU",), 33),
}
_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
# the dihedral group D5's multiplication table, row by row
_VERHOEFF = "0123456789123406789523401789563401289567401239567859876043216598710432765982104387659321049876543210"
_VERHOEFF_SHIFT = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)
_CODICE_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (
            1,
            0,
            5,
            7,
            9,
            13,
            15,
            17,
            19,
            21,
            1,
            0,
            5,
            7,
            9,
            13,
            15,
            17,
            19,
            21,
            2,
            4,
            18,
            20,
            11,
            3,
            6,
            8,
            12,
            14,
            16,
            10,
            22,
            25,
            24,
            23,
        ),
        strict=True,
    )
)


def digits_of(text: str) -> str:
    """Only the ASCII digits."""
    return "".join(letter for letter in text if "0" <= letter <= "9")


def luhn(digits: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812)."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        number = int(digit) * (1 + position % 2)
        total += number - 9 if number > 9 else number  # noqa: PLR2004  two digits add up like this
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """A card number: a network's prefix and length, and the check digit."""
    return len(set(digits)) > 1 and len(digits) in _card_lengths(digits) and luhn(digits)


def _card_lengths(digits: str) -> tuple[int, ...]:
    two, four = int(digits[:2]), int(digits[:4])
    if digits[0] == "4":
        return (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720:  # noqa: PLR2004  Mastercard
        return (16,)
    if two in {34, 37}:
        return (15,)
    if two in {36, 38, 39} or digits[:3] in {"300", "301", "302", "303", "304", "305"}:
        return (14, 16)
    if two in {35, 60, 62, 64, 65, 67, 81} or two in {50, 56, 57, 58, 63}:
        return (16, 17, 18, 19)
    return ()


def is_iban(text: str) -> bool:
    """An IBAN without spaces: a country's length and the remainder 1 modulo 97."""
    if _IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(letter, 36)) for letter in text[4:] + text[:4])) % 97 == 1


def is_public_ip(text: str) -> bool:
    """An IP address of some machine, not a mask, a wildcard or this machine."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (
        address.is_loopback or address.is_unspecified or address.is_multicast or text.startswith(("255.", "0."))
    )


def is_ssn(digits: str) -> bool:
    """A US social security number in an area that is given out."""
    return digits[:3] not in {"000", "666"} and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"


def is_dni(text: str) -> bool:
    """A Spanish DNI or NIE: eight digits (or X, Y, Z and seven) and the right letter."""
    number = text[:-1].translate(str.maketrans("XYZ", "012"))
    return _DNI[int(number) % 23] == text[-1]


def is_cpf(digits: str) -> bool:
    """A Brazilian CPF with its two check digits."""
    if len(set(digits)) == 1:
        return False
    for size in (9, 10):
        total = sum(int(digit) * weight for digit, weight in zip(digits, range(size + 1, 1, -1), strict=False))
        if (total * 10 % 11) % 10 != int(digits[size]):
            return False
    return True


def is_aadhaar(digits: str) -> bool:
    """An Indian Aadhaar number (Verhoeff's check digit)."""
    check = 0
    for position, digit in enumerate(reversed(digits)):
        check = int(_VERHOEFF[check * 10 + int(_VERHOEFF_SHIFT[position % 8][int(digit)])])
    return digits[0] > "1" and check == 0


def is_ahv(digits: str) -> bool:
    """A Swiss AHV number (EAN-13)."""
    return sum(int(digit) * (3 if position % 2 else 1) for position, digit in enumerate(digits)) % 10 == 0


def is_nir(digits: str) -> bool:
    """A French social security number with its key."""
    return int(digits[13:]) == 97 - int(digits[:13]) % 97


def is_pesel(digits: str) -> bool:
    """A Polish PESEL."""
    return (
        sum(int(digit) * weight for digit, weight in zip(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), strict=True)) % 10
        == 0
    )


def is_codice_fiscale(text: str) -> bool:
    """An Italian codice fiscale with its check letter."""
    odd = sum(_CODICE_ODD[letter] for letter in text[:15:2])
    even = sum(int(letter, 36) - (10 if letter.isalpha() else 0) for letter in text[1:15:2])
    return chr(ord("A") + (odd + even) % 26) == text[15]
