"""Who answers for what: the RACI of the manifest, checked, resolved to addresses, and written for other systems."""

from prodkit.ownership.check import Violation, check, upcoming
from prodkit.ownership.exports import FORMATS, write_format
from prodkit.ownership.person import name_person
from prodkit.ownership.roles import ACTIVITIES, Contact, Route, Row, matrix, people_of, resolve, routes

__all__ = [
    "ACTIVITIES",
    "FORMATS",
    "Contact",
    "Route",
    "Row",
    "Violation",
    "check",
    "matrix",
    "name_person",
    "people_of",
    "resolve",
    "routes",
    "upcoming",
    "write_format",
]
