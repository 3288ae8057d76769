"""Settings of what sandboxed commands reach besides the workspace: paths, variables, and the table [sandbox]."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from agentctl.core.errors import UsageError
from agentctl.sandbox.bwrap import environment_inside
from agentctl.settings.config_file import save_value
from agentctl.settings.sandbox_access import FIXED_VARIABLES
from tests.support.desk import Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return Desk(tmp_path)


def test_the_table_sets_mode_paths_and_variables(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "home/cache").mkdir()
    (tmp_path / "data").mkdir()
    desk.user_toml(
        f'max_turns = 9\n[sandbox]\nmode = "none"\nread = ["{tmp_path}/data/"]\nwrite = ["~/cache"]\n'
        'env = ["EDITOR", "NOT_SET"]\n'
    )
    loaded = desk.load({"EDITOR": "vi"})
    settings = loaded.settings
    assert (settings.sandbox, settings.sandbox_read, settings.sandbox_write, settings.sandbox_env) == (
        "none", (f"{tmp_path}/data",), (f"{tmp_path}/home/cache",), ("EDITOR", "NOT_SET"),
    )  # fmt: skip
    assert (loaded.passed_on, loaded.notes) == ({"EDITOR": "vi"}, ())
    assert loaded.names["sandbox_read"] == "sandbox.read"


def test_a_variable_replaces_a_list_and_is_split_at_commas(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    desk.user_toml(f'sandbox_read = ["{tmp_path}/a"]\n')
    assert desk.load({"AGENTCTL_SANDBOX_READ": f"{tmp_path}/b, {tmp_path}/b/"}).settings.sandbox_read == (
        f"{tmp_path}/b",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[sandbox]\nreed = ["/srv"]',
            'unknown setting "sandbox.reed" (user config {config} line 2) (did you mean "read"',
        ),
        ("[sandbox]\nmax_turns = 5", "(move max_turns above the line [sandbox])"),
        ('sandbox_read = ["/srv"]\n[sandbox]\nread = ["/srv"]', "are one setting (remove one of them)"),
        ('[sandbox]\nmode = "docker"', 'sandbox cannot be "docker" (user config {config} line 2)'),
        ("[sandbox]\nread = 5", "separated by commas (TOML: a list)"),
    ],
)
def test_wrong_line_of_the_table_is_named(desk: Desk, text: str, said: str) -> None:
    path = desk.user_toml(text)
    (problem,) = desk.check().problems
    assert said.replace("{config}", str(path)) in problem


@pytest.mark.parametrize("name", ["read", "write"])
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("data", "absolute paths, or paths that begin with ~/"),
        ("~nobody-here/x", "absolute paths, or paths that begin with ~/"),
        ("/", "/ contains "),
        ("~", "is your home folder: name folders in it"),
        ("/home", "is a folder of the system: name folders in it"),
        ("/proc/self/../1", "is in /proc, a file system of the kernel"),
        ("{root}/state/runs", "belongs to agentctl"),
        ("{root}", " contains "),
        ("{root}/link-to-config", "belongs to agentctl"),
        ("{root}/link-to-home", "is your home folder: name folders in it"),
        ("{root}/missing", "{root}/missing does not"),
        ("/tmp/..", "/ contains "),
    ],
)
def test_path_that_opens_too_much_ends_with_a_sentence(
    desk: Desk, tmp_path: Path, name: str, path: str, said: str
) -> None:
    (tmp_path / "link-to-config").symlink_to(desk.config)
    (tmp_path / "link-to-home").symlink_to(tmp_path / "home")
    given, said = (text.replace("{root}", str(tmp_path)) for text in (path, said))
    error = desk.refusal({f"AGENTCTL_SANDBOX_{name.upper()}": given})
    assert error.message.startswith(f"sandbox_{name} cannot be ")
    assert said in error.message


@pytest.mark.parametrize("path", ["/etc", "/usr/local/share", "/bin", "{work}/..", "{installed}"])
def test_path_of_the_system_the_workspace_or_agentctl_is_never_writable(desk: Desk, path: str) -> None:
    package = str(Path(__file__).parents[3] / "agentctl")
    given = path.replace("{work}", str(desk.cwd)).replace("{installed}", str(Path(package).parent))
    error = desk.refusal({"AGENTCTL_SANDBOX_WRITE": given})
    assert error.message.startswith("sandbox_write cannot be ")


def test_folder_of_the_system_may_be_named_to_read(desk: Desk) -> None:
    assert desk.load({"AGENTCTL_SANDBOX_READ": "/usr/share,/etc"}).settings.sandbox_read == ("/usr/share", "/etc")


@pytest.mark.parametrize(
    "name",
    ["OPENAI_API_KEY", "GITHUB_TOKEN", "my_api_key", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "BASH_ENV", "PATH", "HOME",
     "TMP", "SSH_AUTH_SOCK", "GIT_SSH", "GIT_CONFIG_COUNT", "AGENTCTL_PARENT_RUN", "A=b", "1A", "", "grün"],
)  # fmt: skip
def test_variable_with_a_key_or_a_way_out_is_refused(desk: Desk, name: str) -> None:
    if not name:
        assert desk.load({"AGENTCTL_SANDBOX_ENV": " , "}).settings.sandbox_env == ()
        return
    assert desk.refusal({"AGENTCTL_SANDBOX_ENV": name}).message.startswith("sandbox_env cannot be ")


def test_variable_that_holds_a_key_under_another_name_is_not_given(desk: Desk) -> None:
    key = "sk-0123456789abcdef"
    loaded = desk.load({"AGENTCTL_SANDBOX_ENV": "COPY,EDITOR", "OPENAI_API_KEY": key, "COPY": key, "EDITOR": "vi"})
    assert loaded.passed_on == {"EDITOR": "vi"}
    assert loaded.notes == ("COPY is not given to commands: its value is a key",)


def test_key_of_an_own_provider_is_never_given(desk: Desk) -> None:
    desk.user_toml(
        'sandbox_env = ["LAB"]\n[providers.lab]\nkind = "openai"\nbase_url = "http://127.0.0.1:1/v1"\nprice = 0\n'
        'api_key_env = "LAB"\n'
    )
    assert "LAB holds a key" in desk.refusal({"LAB": "value"}).message


def test_every_variable_that_is_always_set_is_known_to_the_settings() -> None:
    assert environment_inside().keys() <= FIXED_VARIABLES


@pytest.mark.parametrize("file", ["toml", "env"])
def test_untrusted_project_file_gives_commands_nothing(desk: Desk, tmp_path: Path, file: str) -> None:
    (tmp_path / "data").mkdir()
    if file == "toml":
        desk.project_toml(
            f'[sandbox]\nmode = "none"\nread = ["{tmp_path}/data"]\nwrite = ["{tmp_path}/data"]\nenv = ["EDITOR"]\n'
        )
    else:
        desk.project_env(
            f"AGENTCTL_SANDBOX=external\nAGENTCTL_SANDBOX_READ={tmp_path}/data\nAGENTCTL_SANDBOX_WRITE={tmp_path}/data\n"
            "AGENTCTL_SANDBOX_ENV=EDITOR\n"
        )
    loaded = desk.load({"EDITOR": "vi"})
    settings = loaded.settings
    assert (settings.sandbox, settings.sandbox_read, settings.sandbox_write, settings.sandbox_env) == (
        "auto",
        (),
        (),
        (),
    )
    assert loaded.passed_on == {}
    assert {line.field for line in loaded.ignored} == {"sandbox", "sandbox_read", "sandbox_write", "sandbox_env"}


def test_config_set_changes_the_line_of_the_table(desk: Desk) -> None:
    path = desk.user_toml('max_turns = 9\n\n[sandbox]  # mine\nmode = "none"\nread = ["/srv"]  # data\n')
    assert save_value(path, "sandbox", ["external"])
    assert save_value(path, "sandbox_read", ["/usr/share"])
    assert save_value(path, "sandbox_env", ["EDITOR"])
    assert path.read_text().startswith(
        'max_turns = 9\n\n[sandbox]  # mine\nmode = "external"\nread = ["/usr/share"]  # data\n'
    )
    assert tomllib.loads(path.read_text())["sandbox"]["env"] == ["EDITOR"]
    assert save_value(path, "sandbox_read", ())
    assert "read" not in path.read_text()
    with pytest.raises(UsageError, match="is in /proc"):
        save_value(path, "sandbox_write", ["/proc/1"])
