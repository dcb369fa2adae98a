import subprocess
import sys
from pathlib import Path

import pytest

from syscontainers.errors import UsageError
from syscontainers.settings import Settings, load_settings, use_storage


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_all_defaults_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYSCONTAINERS_CONFIG", raising=False)
    monkeypatch.setattr("syscontainers.settings.CONFIG_FILE", Path("/nonexistent/config.toml"))
    assert load_settings() == Settings()


def test_storage_follows_state(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, 'state = "/srv/sc"\nruntime = "crun"\n'))
    assert settings.storage == Path("/srv/sc/storage")
    assert settings.storage_staging == Path("/srv/sc/staging")
    assert settings.runtime == "crun"


def test_a_storage_that_is_a_mount_of_its_own_is_staged_inside() -> None:
    # /proc is one on every machine; nothing is written.
    assert use_storage(Settings(), "/proc").storage_staging == Path("/proc/.syscontainers-staging")


def test_storage_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    assert use_storage(Settings(), "../srv/x").storage == Path("/srv/x")
    with pytest.raises(UsageError):
        use_storage(Settings(), "")


@pytest.mark.parametrize("words", [["--storage"], ["--config"], ["--storage=", "images"], ["images", "--storage"]])
def test_global_options_without_a_value(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "syscontainers", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert words[0].partition("=")[0] in done.stderr or "--storage" in done.stderr


def test_a_foreign_storage_is_staged_beside_it(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, 'storage = "/var/lib/containers/storage"\n'))
    assert settings.storage_staging == Path("/var/lib/containers/.syscontainers-staging")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stat = 1", "stat is not a setting"),
        ('state = "relative"', "absolute path"),
        ('state = "/a/../b"', "absolute path"),
        ("runtime = 3", "runtime must be a string, not an integer"),
        ("grace_seconds = -1", "from 0 to 3600"),
        ("keep_generations = 0", "at least 1"),
        ("a = ", "not valid TOML"),
    ],
)
def test_bad_settings_are_told_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError, match=message) as caught:
        load_settings(path)
    assert caught.value.message.startswith(str(path))
    assert caught.value.exit_code == 2


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_settings(tmp_path / "absent.toml")
