"""`rfdn-stream models` shows paths as they are."""

from rfdn_stream.cli.app import run
from rfdn_stream.nets.catalogue import models


def test_a_folder_with_brackets_is_shown_whole(tmp_path, monkeypatch, capsys):
    home = tmp_path / "h[b]x"
    monkeypatch.setenv("RFDN_STREAM_HOME", str(home))
    fetched = next(model for model in models() if model.url is not None)
    fetched.path.parent.mkdir(parents=True)
    fetched.path.touch()
    assert run(["models"]) == 0
    assert f"fetched to {fetched.path}" in capsys.readouterr().out.replace("\n", "")
