"""Image references: parsing, normal form and Docker's familiar form (distribution/reference)."""

import re
from dataclasses import dataclass, replace

from flotilla_core.errors import InvalidArgumentError
from flotilla_oci import digests

DEFAULT_DOMAIN = "docker.io"
_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_DEFAULT_TAG = "latest"
_MAX_NAME = 255

_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[a-fA-F0-9:]+\])"
_PATH_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"\w[\w.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(
    rf"(?:(?P<domain>{_HOST}(?::[0-9]+)?)/)?(?P<path>{_PATH_PART}(?:/{_PATH_PART})*)"
    rf"(?::(?P<tag>{_TAG}))?(?:@(?P<digest>{_DIGEST}))?",
    re.ASCII,
)
_TAG_ONLY = re.compile(_TAG, re.ASCII)
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_SHORT_ID = re.compile(r"(?:sha256:)?[a-f0-9]{1,64}")


@dataclass(frozen=True)
class Reference:
    """A repository with at most one tag and at most one digest, in normal form."""

    domain: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """The repository with its domain: `docker.io/library/redis`."""
        return f"{self.domain}/{self.path}"

    @property
    def familiar_name(self) -> str:
        """The repository as users write it: `redis`."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        short = self.path.removeprefix(_OFFICIAL)
        return self.path if "/" in short else short

    @property
    def familiar(self) -> str:
        """The whole reference as users write it: `redis:7`."""
        return self.familiar_name + self._suffix()

    def __str__(self) -> str:
        """Return the normal form: `docker.io/library/redis:7`."""
        return self.name + self._suffix()

    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return tag + (f"@{self.digest}" if self.digest else "")

    def with_default_tag(self) -> "Reference":
        """Return the reference with the tag `latest` if it has neither tag nor digest."""
        return self if self.tag or self.digest else replace(self, tag=_DEFAULT_TAG)

    def with_tag(self, tag: str) -> "Reference":
        """Return the repository with this tag and no digest.

        Raises:
            InvalidArgumentError: If it is not a tag.
        """
        if not _TAG_ONLY.fullmatch(tag):
            raise InvalidArgumentError("invalid tag format")
        return Reference(self.domain, self.path, tag=tag)

    def with_digest(self, digest: str) -> "Reference":
        """Return the repository with this digest and no tag."""
        return Reference(self.domain, self.path, digest=digests.validated(digest))

    def without_suffix(self) -> "Reference":
        """Return the repository alone."""
        return Reference(self.domain, self.path)


def parse(text: str) -> Reference:
    """Parse a reference in familiar or normal form.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    if _IDENTIFIER.fullmatch(text):
        raise InvalidArgumentError(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        )
    domain, remainder = _split_domain(text)
    name = remainder.partition("@")[0]
    head, slash, last = name.rpartition("/")
    repository = head + slash + last.partition(":")[0]
    if repository != repository.lower():
        raise InvalidArgumentError(
            f"invalid reference format: repository name ({repository}) must be lowercase"
        )
    found = _REFERENCE.fullmatch(f"{domain}/{remainder}")
    if found is None or found["domain"] is None:
        raise InvalidArgumentError("invalid reference format")
    if len(found["domain"]) + 1 + len(found["path"]) > _MAX_NAME:
        raise InvalidArgumentError(f"repository name must not be more than {_MAX_NAME} characters")
    digest = found["digest"]
    if digest is not None:
        digests.validated(digest)
    return Reference(found["domain"], found["path"], found["tag"], digest)


def parse_repository_and_tag(repository: str, tag: str) -> Reference:
    """Join the `repo` and `tag` parameters of the Engine API into one reference.

    Raises:
        InvalidArgumentError: With dockerd's text.
    """
    reference = parse(repository)
    if not tag:
        return reference
    if ":" in tag:
        return reference.with_digest(tag)
    return reference.with_tag(tag)


def is_identifier(text: str) -> bool:
    """Tell whether the text can be a whole or shortened image id."""
    return bool(_SHORT_ID.fullmatch(text))


def _split_domain(text: str) -> tuple[str, str]:
    head, slash, rest = text.partition("/")
    is_domain = bool(slash) and (
        "." in head or ":" in head or head == "localhost" or head.lower() != head
    )
    domain, remainder = (head, rest) if is_domain else (DEFAULT_DOMAIN, text)
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = _OFFICIAL + remainder
    return domain, remainder
