"""Made-up names and values of the shop: everything that is drawn by lot, nothing of a database."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import NamedTuple

# fmt: off
FIRST_NAMES = (
    "Ada", "Bram", "Carys", "Dilip", "Elin", "Femi", "Greta", "Hamish", "Ines", "Jonas", "Kezia",
    "Lorcan", "Mabel", "Niamh", "Otis", "Priya", "Quentin", "Rosa", "Søren", "Tamsin", "Ursula",
    "Viktor", "Wanda", "Xavier", "Yusuf", "Zoë",
)
LAST_NAMES = (
    "Ashworth", "Bellweather", "Copperfield", "Dunmore", "Eastwood", "Fairclough", "Garside",
    "Holroyd", "Ingleby", "Jagger", "Kettlewell", "Lumb", "Micklethwaite", "Naylor", "Ogden",
    "Pickersgill", "Quarmby", "Ramsbottom", "Sutcliffe", "Thistlethwaite", "Umpleby", "Varley",
    "Whitaker", "Yardley",
)
# fmt: on
STREETS = ("Canal Street", "Mill Lane", "Weavers Row", "Tannery Walk", "Harbour Road", "King's Way")
SECOND_LINES = ("Unit 7", "Floor 2, Rear", "The Old Dye Works", "Dock & Yard")
DISTRICTS = ("Norhamshire", "Eastmarch", "Côte-Basse", "Upper Vale")
CITIES = ("Millbrook", "Port Alder", "St. Wilfrid", "Greyhaven", "Łódeczka", "North Sallow")
COUNTRIES = ("Ireland", "Portugal", "Trinidad & Tobago", "Korea, Republic of", "Côte d'Ivoire")
ENDINGS = ("Ltd", "& Sons", "Group", "and Daughters", "PLC")
DEPARTMENTS = ("Sales", "Buying", "Workshop", "Dispatch", "Finance", "Estates", "Press", "People")
# The typing error is the live database's own: nothing downstream may correct or trip over it.
LOCATIONS = ("Manchester", "Manchester", "Leeds", "Leds", "Manchester", "Leeds", "Leeds", "Leeds")
PLACES = ("Leeds", "Manchester", "Bradford", "Halifax", "York", "Hull")
CURRENCIES = ("GBP", "USD", "EUR")
PAYMENT_TYPES = ("SALES_RECEIPT", "SALES_REFUND", "PURCHASE_PAYMENT", "PURCHASE_REFUND")
FABRICS = ("Canvas", "Denim", "Jute", "Linen", "Hemp", "Felt", "Leather", "Waxed", "Corduroy")
FOLDERS = ("/srv/designs", "/home/studio", "/mnt/archive/totes", "/var/spool/cad", "/opt/patterns")

ADDRESSES = 30
COUNTERPARTIES = 20
STAFF = 20
LATEST_DELIVERY = 624
CODE_SIGNS = string.ascii_uppercase + string.digits

Row = tuple[str | int | None, ...]


class Order(NamedTuple):
    """What a sale and a purchase have in common; the price is in pence."""

    staff_id: int
    counterparty_id: int
    quantity: int
    pence: int
    currency_id: int
    delivery: str
    payment: str
    location_id: int
    company_account: int
    counterparty_account: int


def below(rng: random.Random, bound: int) -> int:
    """Return a whole number from 0 up to, but without, the bound; randrange is ten times slower."""
    return int(rng.random() * bound)


def sale(rng: random.Random, day: date) -> Order:
    """Return the sale of a day."""
    return _order(rng, day, 1_000 + below(rng, 99_001), 200 + below(rng, 201))


def purchase(rng: random.Random, day: date) -> Order:
    """Return the purchase of a day."""
    return _order(rng, day, 1 + below(rng, 1_000), 300 + below(rng, 99_701))


def _order(rng: random.Random, day: date, quantity: int, pence: int) -> Order:
    return Order(
        staff_id=1 + below(rng, STAFF),
        counterparty_id=1 + below(rng, COUNTERPARTIES),
        quantity=quantity,
        pence=pence,
        currency_id=1 + below(rng, len(CURRENCIES)),
        delivery=delivery_date(rng, day, late=rng.random() < 0.03),
        payment=days_after(day, below(rng, 6)),
        location_id=1 + below(rng, ADDRESSES),
        company_account=account_number(rng),
        counterparty_account=account_number(rng),
    )


def delivery_date(rng: random.Random, day: date, late: bool) -> str:
    """Return a date agreed for delivery: within a week, or up to 624 days late."""
    return days_after(day, 30 + below(rng, LATEST_DELIVERY - 29) if late else 1 + below(rng, 7))


def account_number(rng: random.Random) -> int:
    """Return a bank account of eight digits."""
    return 10_000_000 + below(rng, 90_000_000)


@lru_cache(maxsize=4096)
def days_after(day: date, days: int) -> str:
    """Return the date some days later as YYYY-MM-DD."""
    return (day + timedelta(days)).isoformat()


def item_code(rng: random.Random, digits_only: bool = False) -> str:
    """Return seven capitals and digits; of digits alone it starts with a zero."""
    if digits_only:
        return f"{below(rng, 10**6):07}"
    return "".join(rng.choices(CODE_SIGNS, k=7))


def design(rng: random.Random, day: date) -> tuple[str, str, str]:
    """Return name, file location and file name of a design drawn on a day."""
    fabric = rng.choice(FABRICS)
    tag = "".join(rng.choices(string.ascii_lowercase + string.digits, k=4))
    return fabric, rng.choice(FOLDERS), f"{fabric.lower()}-{day:%Y%m%d}-{tag}.json"


def address(rng: random.Random, number: int) -> Row:
    """Return an address; every third postal code starts with zeros."""
    leading = f"{below(rng, 1_000):05}" if number % 3 == 0 else f"{10_000 + below(rng, 90_000)}"
    return (
        f"{1 + below(rng, 999)} {rng.choice(STREETS)}",
        rng.choice(SECOND_LINES) if number % 4 == 0 else None,
        rng.choice(DISTRICTS) if number % 5 < 3 else None,
        rng.choice(CITIES),
        leading if number % 2 else f"{leading}-{below(rng, 10_000):04}",
        rng.choice(COUNTRIES),
        f"0{below(rng, 1_000):03} {below(rng, 1_000_000):06}",
    )


def counterparty(rng: random.Random, number: int) -> Row:
    """Return a counterparty; the first three share a legal address."""
    one, two, three = rng.sample(LAST_NAMES, 3)
    names = (f"{one}, {two} and {three}", f"{one} - {two}", f"{one} {rng.choice(ENDINGS)}")
    name = names[number % 3] if number > 1 else f"{one} & Sons"
    contacts = (person(rng), None if number % 10 == 0 else person(rng))
    return name, 1 if number < 4 else 1 + below(rng, ADDRESSES), *contacts


def person(rng: random.Random) -> str:
    """Return a full name."""
    return f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"


def staff(rng: random.Random, number: int) -> Row:
    """Return a member of the staff; the first eight fill every department."""
    first = rng.choice(FIRST_NAMES)
    last = "O'Keefe" if number == 17 else rng.choice(LAST_NAMES)
    department = number if number <= len(DEPARTMENTS) else 1 + below(rng, len(DEPARTMENTS))
    return first, last, department, f"{first}.{last}@totesys.example".lower()


def other(rng: random.Random, values: Sequence[object], than: object) -> object:
    """Return one of the values that differs from the present one."""
    return rng.choice([value for value in values if value != than])
