"""What all settings have in common."""

from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict

from common.manifest import digest_of

ConfigT = TypeVar("ConfigT", bound="Config")


class Config(BaseModel):
    """Frozen settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    operational: ClassVar[frozenset[str]] = frozenset()
    """Keys that change how fast a result is made, but not the result."""

    def decisive(self) -> dict[str, Any]:
        """All values but those of operational keys."""
        return self.model_dump(mode="json", exclude={*self.operational})

    def digest(self) -> str:
        """12 hex digits that change when any value changes, except those of operational keys."""
        return digest_of(self.decisive())

    def replace(self: ConfigT, **values: object) -> ConfigT:
        """A validated copy with some values changed."""
        return type(self).model_validate(self.model_dump() | values)
