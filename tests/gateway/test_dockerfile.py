"""Twin of flotilla_gateway.build.dockerfile and flotilla_engine.dockerfile."""

import pytest

from flotilla_core.errors import InvalidArgumentError
from flotilla_engine.config import ContainerConfig
from flotilla_engine.dockerfile import apply_changes
from flotilla_gateway.build.dockerfile import expand, parse


def test_lines_are_joined_and_comments_left_out() -> None:
    parsed = parse("# syntax=x\n\nFROM a AS b\nRUN one \\\n  # no\n\n  two\ncopy --from=b c d\n")
    (stage,) = parsed.stages
    assert stage.name == "b"
    run, copy = stage.steps
    assert (run.name, run.arguments, run.line) == ("RUN", "one   two", 4)
    assert (copy.name, copy.flags, copy.arguments) == ("COPY", {"from": "b"}, "c d")


def test_the_escape_can_be_chosen() -> None:
    parsed = parse("# escape=`\nFROM a\nRUN x `\ny \\z\n")
    assert parsed.stages[0].steps[0].arguments == "x y \\z"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be empty"),
        ("RUN x", "no build stage in current context"),
        ("FROM a\nNOPE", "dockerfile parse error on line 2: unknown instruction: NOPE"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM a\nRUN --mount=x y", "requires BuildKit"),
        ("FROM a\nCOPY --nope=x y z", "unknown flag: --nope"),
        ("FROM a\nENV", "ENV requires at least one argument"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as problem:
        parse(text)
    assert message in problem.value.message


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$a ${a} $$ \\$a '$a' \"$a\"", "1 1 $$ $a '$a' \"1\""),
        ("${no:-x}${empty:-y}${empty-z}", "xy"),
        ("${a:+set}${no:+set}${no:-${a}}", "set1"),
        ("$no$ab", ""),
    ],
)
def test_variables_are_expanded(text: str, result: str) -> None:
    assert expand(text, {"a": "1", "empty": ""}) == result


def test_changes_make_a_configuration() -> None:
    config = apply_changes(
        ContainerConfig(env=["A=old", "B=b"]),
        [
            "ENV A=1 C='two words'",
            "ENV D some text",
            'CMD ["x", "y"]',
            "ENTRYPOINT run it",
            "EXPOSE 80 53/udp 8000-8001",
            "VOLUME /a /b",
            "WORKDIR /w",
            "WORKDIR sub",
            "LABEL k=v",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --interval=5s --retries=3 CMD check me",
        ],
    )
    assert config.env == ["A=1", "B=b", "C=two words", "D=some text"]
    assert config.cmd == ["x", "y"]
    assert config.entrypoint == ["/bin/sh", "-c", "run it"]
    assert sorted(config.exposed_ports) == ["53/udp", "80/tcp", "8000/tcp", "8001/tcp"]
    assert sorted(config.volumes) == ["/a", "/b"]
    assert config.working_dir == "/w/sub"
    assert config.labels == {"k": "v"}
    assert config.stop_signal == "SIGINT"
    assert config.healthcheck is not None
    assert config.healthcheck.test == ["CMD-SHELL", "check me"]
    assert (config.healthcheck.interval, config.healthcheck.retries) == (5_000_000_000, 3)


@pytest.mark.parametrize(
    "change",
    [
        "FROM x",
        "RUN x",
        "ENV x",
        "EXPOSE x",
        "HEALTHCHECK x",
        "ONBUILD ONBUILD x",
        "LABEL 'a",
        "CMD",
        "HEALTHCHECK --retries=x CMD y",
        "EXPOSE 1-999999999",
    ],
)
def test_a_wrong_change_is_refused(change: str) -> None:
    with pytest.raises(InvalidArgumentError):
        apply_changes(ContainerConfig(), [change])
