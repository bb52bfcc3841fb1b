"""The configuration: defaults, overrides, and every fault told at once."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from dicom_node.commands.config_text import as_json, as_toml
from dicom_node.config import ConfigError, Settings, read_settings

FAULTY = """
[receive]
port = 99999
colour = "red"

[[deliver.destinations]]
kind = "orthanc"
name = "archive"
url = "ftp://elsewhere"
"""

SECRET = """
[[deliver.destinations]]
kind = "orthanc"
name = "archive"
url = "http://127.0.0.1:8042"
username = "node"
password = "open sesame"
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No petct-node.toml of the working folder gets in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PETCT_NODE_CONFIG", raising=False)


def _file(folder: Path, text: str) -> Path:
    path = folder / "node.toml"
    path.write_text(text)
    return path


def test_defaults_listen_on_loopback_only() -> None:
    settings = read_settings()
    assert settings.receive.host == "127.0.0.1"
    assert settings.deliver.destinations == ()


def test_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _file(tmp_path, "[receive]\nport = 4000\nprocesses = 3\n")
    monkeypatch.setenv("PETCT_NODE__RECEIVE__PORT", "5000")
    receive = read_settings(file).receive
    assert (receive.port, receive.processes) == (5000, 3)


def test_all_faults_are_listed_together_with_what_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PETCT_NODE__NODE__LOG_LEVEL", "loud")
    with pytest.raises(ConfigError) as told:
        read_settings(_file(tmp_path, FAULTY))
    message = str(told.value)
    for part in ("receive.port", "65535", "receive.colour", "no such key", "url", "^https?://", "'warning'", "loud"):
        assert part in message


def test_listening_beyond_loopback_needs_peers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"receive\.peers is empty"):
        read_settings(_file(tmp_path, '[receive]\nhost = "0.0.0.0"\n'))
    allowed = '[receive]\nhost = "0.0.0.0"\n[[receive.peers]]\nae_title = "SCANNER"\n'
    assert read_settings(_file(tmp_path, allowed)).receive.peers[0].ae_title == "SCANNER"


@pytest.mark.parametrize("title", ["", "SEVENTEEN_LETTERS", "BACK\\SLASH", "ÜMLAUT"])
def test_ae_titles_follow_the_standard(tmp_path: Path, title: str) -> None:
    with pytest.raises(ConfigError, match="AE title"):
        read_settings(_file(tmp_path, f"[receive]\nae_title = '{title}'\n"))


def test_not_toml_and_no_file_are_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not TOML"):
        read_settings(_file(tmp_path, "[receive\n"))
    with pytest.raises(ConfigError, match="no configuration file"):
        read_settings(tmp_path / "absent.toml")


def test_secrets_are_never_printed(tmp_path: Path) -> None:
    settings = read_settings(_file(tmp_path, SECRET))
    assert "open sesame" not in as_toml(settings) + str(as_json(settings)) + repr(settings)


def test_a_password_in_a_url_is_refused_and_not_shown(tmp_path: Path) -> None:
    destination = '[[deliver.destinations]]\nkind = "orthanc"\nname = "o"\nurl = "http://me:hushhush@pacs:8042"\n'
    with pytest.raises(ConfigError, match="the keys username and password") as caught:
        read_settings(_file(tmp_path, destination))
    assert "hushhush" not in str(caught.value)


def test_the_printed_configuration_reads_back_as_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = '[[route]]\nname = "one"\nbundle = "demo"\n[route.when]\nstation_name = ["CT?", \'/"x" \\d/\']\n'
    rule += "patient_age = { min = 18 }\nany = [{ pet_slices = { max = 90.5 } }, { not = { tracer = '' } }]\n"
    settings = read_settings(_file(tmp_path, '[[receive.peers]]\nae_title = "SCANNER"\n[infer]\nthreads = 3\n' + rule))
    printed = as_toml(settings)
    assert read_settings(_file(tmp_path, printed)) == settings
    assert set(tomllib.loads(printed)) == set(Settings.model_fields)
    assert as_json(settings)["route"][0]["when"]["any"] == [{"pet_slices": {"max": 90.5}}, {"not": {"tracer": [""]}}]


def test_what_is_printed_as_a_comment_may_be_put_in_force(tmp_path: Path) -> None:
    printed = as_toml(Settings())
    assert "\nalso_suv = []" in printed, "a list of values is no table"
    rule = "\n".join(line.removeprefix("# ") for line in printed[printed.index("# [[route]]") :].splitlines())
    (route,) = read_settings(_file(tmp_path, rule)).route
    assert (route.bundle, route.when.tracer) == ("demo", ("fdg",))


@pytest.mark.parametrize("document", ["README.md", "inference/SEGMENTERS.md"])
def test_what_the_documents_show_is_a_configuration(tmp_path: Path, document: str) -> None:
    text = (Path(__file__).parents[2] / document).read_text()
    blocks = [b for b in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if "[project" not in b]
    assert blocks
    for block in blocks:
        assert read_settings(_file(tmp_path, block)) != Settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[route]\nname = "a"\n', "write [[route]]"),
        ('[receive]\npeers = { ae_title = "A" }\n', "write [[receive.peers]]"),
        ('[infer]\nalso_suv = "bsa"\n', "infer.also_suv: a list is wanted"),
        ('[[receive.peers]]\nae_title = "A"\n[[receive.peers]]\nae_title = ""\n', "receive.peers #2.ae_title"),
        ("infer = 3\n", "infer: a table is wanted"),
    ],
)
def test_a_wrong_form_is_told_in_terms_of_the_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(_file(tmp_path, text))
    assert said in str(caught.value)


def test_every_key_says_what_it_is() -> None:
    for section in Settings.model_fields.values():
        assert section.annotation is not None
        if section.description:
            continue
        for key, field in section.annotation.model_fields.items():
            assert field.description, f"{section.annotation.__name__}.{key} has no description"


def test_a_password_that_is_set_is_printed_out_of_force(tmp_path: Path) -> None:
    printed = as_toml(read_settings(_file(tmp_path, SECRET)))
    again = read_settings(_file(tmp_path, printed)).deliver.destinations[0]
    assert again.password is None, "the mask must not become the password"


@pytest.mark.parametrize("url", ["http://127.0.0.1:port", "http://127.0.0.1:99999", "http://[::1", "http://"])
def test_an_orthanc_s_address_is_checked_at_the_start(tmp_path: Path, url: str) -> None:
    text = f'[[deliver.destinations]]\nkind = "orthanc"\nname = "a"\nurl = "{url}"\n'
    with pytest.raises(ConfigError, match=r"url: "):
        read_settings(_file(tmp_path, text))


def test_a_file_that_is_no_text_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "petct-node.toml").write_bytes(b"\xca\xfe")
    with pytest.raises(ConfigError, match="not TOML"):
        read_settings(tmp_path / "petct-node.toml")
