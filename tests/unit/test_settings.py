from pathlib import Path

import pytest

from syscontainers.errors import UsageError
from syscontainers.settings import Settings, load_settings


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
