"""Name a malformed setting of Prefect in one line, as it keeps Prefect from being imported."""

import importlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

from pydantic import AliasChoices, ValidationError
from pydantic_settings import BaseSettings
from pydantic_settings import SettingsError as Undecoded

from pipeline import settings
from pipeline.errors import SettingsError


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        """Import Prefect with its settings; what it prints of malformed ones is left out."""
        with redirect_stderr(io.StringIO()) as said:
            try:
                super().exec_module(module)
                importlib.import_module("prefect.context")
            except ValidationError as error:
                raise SettingsError("; ".join(_problems(error))) from None
            except Undecoded as error:
                field = str(error).split('"')[1]
                raise SettingsError(f"{_variable(field)}: write JSON") from None
        sys.stderr.write(said.getvalue())


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where Prefect is; None for any other module."""
        spec = PathFinder.find_spec(name, path, target) if name == "prefect" else None
        if spec and spec.origin:
            spec.loader = _Loader(name, spec.origin)
        return spec


def explain() -> None:
    """Make each import of Prefect raise a SettingsError that names its malformed settings, if there are any.

    Prefect itself is imported only where it is used, as that takes a second.
    """
    sys.meta_path.insert(0, _Finder())


def _problems(error: ValidationError) -> Iterator[str]:
    """A line for each malformed setting, without its value."""
    for each in error.errors():
        if each["type"] != "default_factory_not_called":  # follows from another one
            remedy = settings.remedy(each) or "is malformed; correct it, or unset it"
            yield f"{_variable(str(each['loc'][0]), error.title)}: {remedy}"


def _variable(field: str, title: str = "") -> str:
    """The variable that sets a field of Prefect's class ``title``, or of any: of several the set one."""
    classes = importlib.import_module("prefect.settings.base").PrefectBaseSettings.__subclasses__()
    names = [name for each in classes if title in {"", each.__name__} for name in _names(each, field)]
    is_set = os.environ | settings.env_file()
    return next((name for name in names if name in is_set), names[0])


def _names(kind: type[BaseSettings], field: str) -> Iterator[str]:
    yield f"{kind.model_config.get('env_prefix', '')}{field}".upper()
    info = kind.model_fields.get(field)
    if info and isinstance(info.validation_alias, AliasChoices):
        yield from (alias.upper() for alias in info.validation_alias.choices if isinstance(alias, str))
