"""Equal models kept once: what many containers have in common is the larger half of each."""

from hashlib import blake2b
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)


class Shared(Generic[M]):
    """Models of one type, each as long as somebody uses it; they must not be changed in place."""

    def __init__(self) -> None:
        """Know none."""
        self._models: WeakValueDictionary[bytes, M] = WeakValueDictionary()

    def __len__(self) -> int:
        """Return how many different ones there are."""
        return len(self._models)

    def of(self, model: M) -> M:
        """Return the first model that was equal to this one."""
        written = model.model_dump_json(exclude_defaults=True).encode()
        return self._models.setdefault(blake2b(written, digest_size=16).digest(), model)
