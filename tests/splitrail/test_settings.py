"""Settings files: every error at once with its place and its remedy, and no surprise from YAML."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from splitrail.errors import SplitrailError
from splitrail.settings import SettingsError, load_settings, parse_settings
from splitrail.settings_reference import keys, reference

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*\Z", max_length=64)]


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    host: Annotated[str, Meta(min_length=1, description="the broker's address")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535, description="its port")] = 1883


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    name: Annotated[Name, Meta(description="its name")]
    deadline_ms: Annotated[Annotated[float, Meta(gt=0.0)] | None, Meta(description="bound on the latency")] = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    node: Annotated[Name, Meta(description="this node's name")]
    tier: Annotated[Literal["edge", "fog", "cloud"], Meta(description="where it stands")] = "edge"
    broker: Annotated[Broker, Meta(description="where to sign in")] = msgspec.field(default_factory=Broker)
    cache: Annotated[Path, Meta(description="where models are kept")] = Path("models")
    store: Annotated[Path | None, Meta(description="where telemetry goes")] = None
    rate: Annotated[float, Meta(ge=0.1, le=100.0, description="readings a second")] = 1.0
    verbose: Annotated[bool, Meta(description="say more")] = False
    deployments: Annotated[tuple[Deployment, ...], Meta(max_length=3, description="what runs")] = ()
    factors: Annotated[dict[str, float], Meta(description="slow-downs by op")] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.node == "localhost":
            raise ValueError("node: 'localhost' names every machine; give this one a name of its own")


def parse(text: str) -> Settings:
    return parse_settings(text, Settings, file="agent.yaml", directory=Path("/site"))


def errors(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parse(text)
    return str(caught.value).splitlines()


def test_a_file_is_read_into_its_struct(tmp_path: Path) -> None:
    """Every kind of value arrives as its type; what is left out has its default."""
    file = tmp_path / "agent.yaml"
    file.write_text(
        "node: pi-4\ntier: fog\nbroker: {host: '10', port: 1884}\nrate: 5\nverbose: true\nstore: ~\n"
        "deployments:\n  - {name: a, deadline_ms: 1e2}\n  - name: b\nfactors: {conv: 2.5}\n"
    )
    assert load_settings(file, Settings) == Settings(
        node="pi-4",
        tier="fog",
        broker=Broker(host="10", port=1884),
        cache=tmp_path / "models",
        rate=5.0,
        verbose=True,
        deployments=(Deployment(name="a", deadline_ms=100.0), Deployment(name="b")),
        factors={"conv": 2.5},
    )


def test_paths_are_relative_to_the_file_and_know_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path means the same from whatever directory the command is started, defaults included."""
    monkeypatch.setenv("HOME", "/home/someone")
    assert parse("node: a").cache == Path("/site/models")
    assert parse("node: a\ncache: ../c").cache == Path("/site/../c")
    assert parse("node: a\ncache: ~/c").cache == Path("/home/someone/c")
    assert parse("node: a\ncache: /c").cache == Path("/c")


def test_all_errors_come_at_once_in_the_order_of_the_file() -> None:
    """Three mistakes are three lines, each with file, line, column, key and remedy."""
    assert errors("nod: pi\nbroker:\n  port: high\ntier: edeg\n") == [
        "agent.yaml:1:1: nod: unknown key; did you mean 'node'?",
        "agent.yaml:3:9: broker.port: expected an integer from 1 to 65535, got high",
        "agent.yaml:4:7: tier: expected one of cloud, edge, fog, got edeg; did you mean 'edge'?",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tier: fog", "1:1: node: missing; give a name"),
        ("node: a\nport: 1", "2:1: port: unknown key; did you mean 'broker.port'?"),
        ("node: a\nzzzzz: 1", "2:1: zzzzz: unknown key; the valid keys are node, tier, broker"),
        ("node: a\nnode: b", "2:1: node: given twice, first in line 1"),
        ("node: a\nbroker: x", "2:9: broker: expected keys with values, got x; the valid keys are host, port"),
        ("node: a\nbroker: {port: 0}", "2:16: broker.port: expected an integer from 1 to 65535, got the number 0"),
        ("node: a\nbroker: {port: 65536}", "2:16: broker.port: expected an integer from 1 to 65535"),
        ("node: a\nbroker: {port: '1883'}", "2:16: broker.port: expected an integer from 1 to 65535, got '1883'"),
        ("node: a\nbroker: {port: 1883.0}", "2:16: broker.port: expected an integer from 1 to 65535"),
        ("node: a\nbroker: {host: ''}", "2:16: broker.host: expected text, got an empty text"),
        ("node: a\nrate: .nan", "2:7: rate: expected a number from 0.1 to 100, got the number .nan"),
        ("node: a\nrate: 1e999", "2:7: rate: expected a number from 0.1 to 100, got"),
        ("node: a\nrate: [1]", "2:7: rate: expected a number from 0.1 to 100, got a list"),
        ("node: a\nrate:", "2:6: rate: expected a number from 0.1 to 100, got nothing"),
        ("node: a\ncache: 7", "2:8: cache: expected a path, got the number 7; if it is meant, put it in quotes: '7'"),
        ("node: a\ncache: ~nobody-here/x", "names the home of a user who is not known"),
        ("node: a b", "1:7: node: expected a name of letters, digits, `_`, `.` and `-`"),
        (f"node: {'x' * 65}", "1:7: node: expected at most 64 characters, got 65"),
        ("node:", "1:6: node: expected a name of letters, digits, `_`, `.` and `-` that begins"),
        ("node: a\ndeployments: {name: a}", "2:14: deployments: expected a list, each keys with values, got keys"),
        ("node: a\ndeployments: [{nam: a}]", "2:16: deployments[0].nam: unknown key; did you mean 'name'?"),
        ("node: a\ndeployments: [{name: a, deadline_ms: 0}]", "2:38: deployments[0].deadline_ms: expected a number"),
        (f"node: a\ndeployments: [{'{name: a},' * 4}]", "2:14: deployments: expected at most 3 entries, got 4"),
        ("node: a\nfactors: {conv: fast}", "2:17: factors.conv: expected a number, got fast"),
        ("node: localhost", "1:1: node: 'localhost' names every machine"),
        ("[a, b]", "1:1: expected keys with values, got a list; the valid keys are node"),
        ("", "1:1: the file is empty; the valid keys are node"),
        ("# only a comment\n", "1:1: the file is empty; the valid keys are node"),
        ("node: [a", "1:9: not YAML: expected ',' or ']', but got '<stream end>'"),
        (
            "node: a\n\ttier: fog",
            "2:1: not YAML: found character '\\t' that cannot start any token; indent with spaces",
        ),
        ("node: a\x07", "1:8: not YAML: a control character"),
        ("node: a\n---\nnode: b", "not YAML: but found another document"),
        ("? [a]\n: b", "1:3: a key must be a word"),
    ],
)
def test_each_mistake_has_its_place_and_its_remedy(text: str, expected: str) -> None:
    """What is wrong, where, and what would be right, in one line."""
    assert any(expected in line for line in errors(text)), errors(text)


@pytest.mark.parametrize("word", ["no", "yes", "on", "off", "true", "12", "1.5", "0x10", "1:30", "2026-01-01", ".5"])
def test_a_name_that_yaml_would_turn_into_something_else_is_asked_about(word: str) -> None:
    """A word that YAML reads as a truth value, number or date is no text until it is quoted."""
    assert f"put it in quotes: '{word}'" in errors(f"node: a\nbroker: {{host: {word}}}")[0]
    assert parse(f"node: a\nbroker: {{host: '{word}'}}").broker.host == word


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "1", "'true'"])
def test_a_truth_value_is_true_or_false(word: str) -> None:
    """YAML's other words for truth values are refused."""
    assert "verbose: expected true or false, got" in errors(f"node: a\nverbose: {word}")[0]


@pytest.mark.parametrize("number", ["010", "0x10", "1_000", "1:30", "0b1", "0o7"])
def test_an_integer_is_decimal(number: str) -> None:
    """`010` is not silently 8, nor `1:30` ninety."""
    assert "broker.port: expected an integer" in errors(f"node: a\nbroker: {{port: {number}}}")[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("node: &a x\nbroker: {host: *a}", "anchors and aliases are not allowed"),
        ("node: a\n<<: {tier: fog}", "<<: unknown key"),
        ("node: !!python/object/apply:os.system [ls]", "the tag 'tag:yaml.org,2002:python/object/apply:os.system'"),
        ("node: !secret x", "the tag '!secret' is not allowed"),
        ("node: " + "[" * 10_000, "nested more than 32 deep"),
        ("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nnode: d", "anchors and aliases are not allowed"),
    ],
)
def test_what_yaml_can_do_to_a_reader_is_refused(text: str, said: str) -> None:
    """No aliases that multiply, no merges, no tags that call, no nesting without end."""
    assert said in errors(text)[0]


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """A missing file, a directory, a huge file and one that is no text each have their line."""
    cases: dict[str, Any] = {"large": b"#" * 1_000_001, "latin": "node: pi\ntier: \xe9dge".encode("latin-1")}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    for name, said in {
        "none": "there is no such file",
        "": "cannot be read: Is a directory",
        "large": "not a settings file",
        "latin": "latin:2:7: not UTF-8 text",
    }.items():
        with pytest.raises(SettingsError, match=said):
            load_settings(tmp_path / name, Settings)


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    """A file saved by another editor is read all the same."""
    file = tmp_path / "agent.yaml"
    file.write_bytes(b"\xef\xbb\xbfnode: a\r\ntier: fog\r\n")
    assert load_settings(file, Settings).tier == "fog"


def test_a_settings_error_is_a_value_error_of_ours() -> None:
    """Callers may catch it as either."""
    assert issubclass(SettingsError, ValueError)
    assert issubclass(SettingsError, SplitrailError)


def test_without_pyyaml_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML is missing, the message is the command that installs it."""
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(SplitrailError, match=r"pip install 'splitrail\[agent\]'"):
        parse("node: a")


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)


@given(
    st.builds(
        dict,
        node=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True),
        rate=st.floats(0.1, 100.0),
        broker=st.builds(dict, host=texts, port=st.integers(1, 65535)),
        factors=st.dictionaries(texts, st.floats(allow_nan=False, allow_infinity=False)),
    )
)
def test_what_pyyaml_writes_is_read_back(values: dict[str, Any]) -> None:
    """Any valid settings that PyYAML dumps come back as they were."""
    assert parse(yaml.safe_dump(values)) == msgspec.structs.replace(
        msgspec.convert(values, Settings), cache=Path("/site/models")
    )


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever is in the file, the outcome is settings or a SettingsError."""
    try:
        parse(text)
    except SettingsError as error:
        assert error.problems


def test_the_reference_lists_every_key() -> None:
    """One row for each key, by its dotted path, with type, default and meaning."""
    assert [(key.path, key.default) for key in keys(Settings)] == [
        ("node", None),
        ("tier", "edge"),
        ("broker.host", "127.0.0.1"),
        ("broker.port", "1883"),
        ("cache", "models"),
        ("store", "none"),
        ("rate", "1.0"),
        ("verbose", "false"),
        ("deployments", "[]"),
        ("deployments[].name", None),
        ("deployments[].deadline_ms", "none"),
        ("factors", "{}"),
    ]
    assert "| `broker.port` | an integer from 1 to 65535 | `1883` | its port |" in reference(Settings).splitlines()
