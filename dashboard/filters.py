"""What a reader chose: the parameters of the page's address, checked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from pipeline.errors import PipelineError

FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2999, 12, 31)
# Days of the default period.
USUAL_DAYS = 30


class FilterError(PipelineError):
    """A parameter of the address is malformed."""


class Period(NamedTuple):
    """Days, both included."""

    since: date
    until: date

    @property
    def days(self) -> int:
        """The number of days."""
        return (self.until - self.since).days + 1

    @property
    def before(self) -> Period:
        """The period of the same length just before."""
        last = max(self.since - timedelta(1), FIRST_DAY)
        return Period(max(last - timedelta(min(self.days, 400_000) - 1), FIRST_DAY), last)

    def __contains__(self, day: object) -> bool:
        """Whether a day is in the period."""
        return isinstance(day, date) and self.since <= day <= self.until


def _day(text: object) -> object:
    return date.fromisoformat(text) if isinstance(text, str) else text


def _moment(text: object) -> object:
    moment = datetime.fromisoformat(text) if isinstance(text, str) else text
    if not isinstance(moment, datetime) or moment.tzinfo:
        return moment
    return moment.replace(tzinfo=UTC)


Day = Annotated[date, BeforeValidator(_day), Field(ge=FIRST_DAY, le=LAST_DAY)]
Moment = Annotated[datetime, BeforeValidator(_moment)]
# Postgres has no character NUL.
Name = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]
Number = Annotated[int, Field(ge=-(2**31), lt=2**31)]

_EXPECTED = {
    "since": "a day as 2026-11-27",
    "until": "a day as 2026-11-27",
    "changed_since": "a day as 2026-11-27",
    "as_of": "a time (UTC) as 2026-11-27T09:30",
    "counterparty": "a number",
    "by": "design, staff, department, counterparty, location or currency",
    "silent": "1 or nothing",
    "order": "asc or desc",
}


class Filters(BaseModel):
    """The choices of a reader; each is None or empty if it was not made."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    as_of: Moment | None = None
    since: Day | None = None
    until: Day | None = None
    currency: Name = ""
    department: Name = ""
    counterparty: Number | None = None
    by: Literal["design", "staff", "department", "counterparty", "location", "currency"] = "counterparty"
    changed_since: Day | None = None
    silent: Literal["", "1"] = ""
    view: Name = ""
    sort: Name = ""
    order: Literal["asc", "desc"] = "desc"

    def period(self, last_day: date | None) -> Period:
        """The chosen days; by default the last thirty up to ``last_day``. Raises FilterError."""
        until = self.until or last_day or datetime.now(UTC).date()
        since = self.since or max(until - timedelta(USUAL_DAYS - 1), FIRST_DAY)
        if since > until:
            raise FilterError(f"since: {since} is after {until}; choose an earlier day")
        return Period(since, until)


def parse(parameters: Mapping[str, str]) -> Filters:
    """The filters in the parameters of an address; raises FilterError that names every malformed one."""
    given: dict[str, Any] = {name: text.strip() for name, text in parameters.items() if text.strip()}
    try:
        return Filters.model_validate(given)
    except ValidationError as error:
        names = dict.fromkeys(str(each["loc"][0]) for each in error.errors())
        raise FilterError(
            "; ".join(f"{name}: write {_EXPECTED.get(name, 'a name')}" for name in names)
        ) from None
