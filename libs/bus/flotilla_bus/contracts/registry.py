"""What the registry proxy answers: the only part that talks to outside registries."""

from typing import Any

from pydantic import Field, SecretStr, field_serializer

from flotilla_bus.methods import Empty, Message, Method, StreamMethod

SERVICE = "registry-proxy"


class Credentials(Message):
    """X-Registry-Auth, decoded; never logged."""

    username: str = ""
    password: SecretStr = SecretStr("")
    identity_token: SecretStr = SecretStr("")
    registry_token: SecretStr = SecretStr("")
    server_address: str = ""

    @field_serializer("password", "identity_token", "registry_token", when_used="json")
    def _revealed(self, value: SecretStr) -> str:
        """Reveal a secret on the bus; anywhere else it stays hidden."""
        return value.get_secret_value()


class PullRequest(Message):
    """Engine API ``ImageCreate`` from a registry; progress lines come back on the stream."""

    reference: str  # normalised, with tag or digest; without both: all tags
    all_tags: bool = False
    platform: str = ""
    credentials: Credentials = Field(default_factory=Credentials)


class PushRequest(Message):
    """Engine API ``ImagePush``; progress lines come back on the stream."""

    reference: str  # normalised; without a tag: all tags of the repository
    credentials: Credentials = Field(default_factory=Credentials)


class AuthRequest(Message):
    """Engine API ``SystemAuth``."""

    credentials: Credentials


class AuthAnswer(Message):
    """``Login Succeeded`` and, where the registry gives one, an identity token."""

    status: str
    identity_token: str = ""


class SearchRequest(Message):
    """Engine API ``ImageSearch``."""

    term: str
    limit: int = 25
    filters: dict[str, list[str]] = Field(default_factory=dict)
    credentials: Credentials = Field(default_factory=Credentials)


class SearchAnswer(Message):
    """Results in the Engine API's shape."""

    results: list[dict[str, Any]]


class DistributionRequest(Message):
    """Engine API ``DistributionInspect``."""

    reference: str
    credentials: Credentials = Field(default_factory=Credentials)


class DistributionAnswer(Message):
    """The descriptor and platforms in the Engine API's shape."""

    descriptor: dict[str, Any]
    platforms: list[dict[str, Any]]


PULL = StreamMethod(SERVICE, "pull", PullRequest, Empty)
PUSH = StreamMethod(SERVICE, "push", PushRequest, Empty)
AUTH = Method(SERVICE, "auth", AuthRequest, AuthAnswer)
SEARCH = Method(SERVICE, "search", SearchRequest, SearchAnswer)
DISTRIBUTION = Method(SERVICE, "distribution", DistributionRequest, DistributionAnswer)
