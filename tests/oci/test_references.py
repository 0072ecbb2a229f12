"""Twin of flotilla_oci.references: distribution/reference's rules, dockerd's texts."""

import pytest

from flotilla_core.errors import InvalidArgumentError
from flotilla_oci import references

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "whole", "familiar"),
    [
        ("redis", "docker.io/library/redis", "redis"),
        ("redis:7", "docker.io/library/redis:7", "redis:7"),
        ("index.docker.io/library/redis", "docker.io/library/redis", "redis"),
        ("docker.io/a/b:c", "docker.io/a/b:c", "a/b:c"),
        ("localhost/x", "localhost/x", "localhost/x"),
        ("localhost:5000/x/y:1", "localhost:5000/x/y:1", "localhost:5000/x/y:1"),
        ("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"),
        ("UP/x", "UP/x", "UP/x"),
        (f"x@{DIGEST}", f"docker.io/library/x@{DIGEST}", f"x@{DIGEST}"),
        (f"x:1@{DIGEST}", f"docker.io/library/x:1@{DIGEST}", f"x:1@{DIGEST}"),
    ],
)
def test_a_reference_has_a_normal_and_a_familiar_form(text: str, whole: str, familiar: str) -> None:
    reference = references.parse(text)
    assert str(reference) == whole
    assert reference.familiar == familiar
    assert references.parse(str(reference)) == reference


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("x:-", "invalid reference format"),
        ("-x", "invalid reference format"),
        ("http://x/y", "invalid reference format"),
        ("Foo", "invalid reference format: repository name (library/Foo) must be lowercase"),
        ("x@sha256:" + "ab" * 31, "invalid checksum digest length"),
        ("x@md7:" + "ab" * 32, "unsupported digest algorithm"),
        ("ab" * 32, "cannot specify 64-byte hexadecimal strings"),
        ("x" * 300, "repository name must not be more than 255 characters"),
    ],
)
def test_what_is_no_reference_is_refused_in_dockers_words(text: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as problem:
        references.parse(text)
    assert message in problem.value.message


def test_the_default_tag_is_latest_unless_there_is_a_digest() -> None:
    assert references.parse("x").with_default_tag().familiar == "x:latest"
    assert references.parse(f"x@{DIGEST}").with_default_tag().familiar == f"x@{DIGEST}"
    assert references.parse_repository_and_tag("x", "").tag is None
    assert references.parse_repository_and_tag("x", "1").familiar == "x:1"
    assert references.parse_repository_and_tag("x", DIGEST).digest == DIGEST
    with pytest.raises(InvalidArgumentError):
        references.parse_repository_and_tag("x", "a b")
