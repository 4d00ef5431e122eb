"""The README's story, line by line, as a newcomer would paste it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.end_to_end.service import Service

README = Path(__file__).parent.parent.parent / "README.md"


class Shell:
    """A terminal in which the README's commands are pasted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        #: What stands in the README for what only the service knows.
        self.known: dict[str, str] = {}

    def paste(self, command: str) -> str:
        for placeholder, value in self.known.items():
            command = command.replace(placeholder, value)
        assert "…" not in command, command
        done = subprocess.run(
            ["bash", "-euc", command], cwd=self._folder, capture_output=True, text=True, check=True
        )
        return done.stdout

    def json(self, command: str) -> Any:
        return json.loads(self.paste(command))


def commands() -> list[str]:
    """The commands of the section "Use", one for each `curl`."""
    section = README.read_text().split("\n## Use\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    joined = "".join(blocks).replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.startswith("curl")]


@pytest.mark.timeout(120)
def test_the_readme_works_when_pasted(tmp_path: Path) -> None:
    with Service(tmp_path / "data") as service:
        shell = Shell(tmp_path)
        shell.known = {"$DARKROOM_KEY": service.key, "$DARKROOM": service.url}
        (
            generate,
            download,
            edit,
            respond_async,
            poll,
            follow,
            cancel,
            retry,
            models,
            read_config,
            update_config,
            verify,
            add_user,
            sign_in,
        ) = commands()

        (picture,) = shell.json(generate)
        shell.known["6f0c…"] = picture["id"]
        shell.paste(download)
        with Image.open(tmp_path / "lighthouse.png") as opened:
            assert opened.size == (1024, 1024)
        (changed,) = shell.json(edit)
        assert changed["id"] != picture["id"]

        accepted = shell.paste(respond_async)
        assert accepted.startswith("HTTP/1.1 202")
        shell.known["41d2…"] = json.loads(accepted.splitlines()[-1])["id"]
        assert shell.json(poll)["metadata"] == {"chat_id": "c1", "message_id": "m1"}
        assert service.finished(shell.known["41d2…"])["images"][0]["message_id"] == "m1"
        assert "event: job" in shell.paste(follow)
        assert shell.json(cancel)["status"] == "succeeded"
        assert shell.json(retry)["code"] == "conflict"

        assert shell.json(models)[0]["id"] == "builtin/placeholder"
        shell.known["sk-…"] = "sk-0123456789abcdef"
        assert shell.json(read_config)["IMAGES_OPENAI_API_KEY"] == ""
        assert shell.json(update_config)["IMAGES_OPENAI_API_KEY"] == "********cdef"
        service.call("POST", "/api/images/config/update", json={"IMAGES_OPENAI_API_KEY": ""})
        assert [each["engine"] for each in shell.json(verify)] == ["builtin"]

        assert shell.json(add_user)["email"] == "bo@example.org"
        token = shell.json(sign_in)["token"]
        of_bo = {"Authorization": f"Bearer {token}"}
        assert service.call("GET", "/api/v1/auths/", headers=of_bo).json()["name"] == "Bo"
        assert service.call("GET", picture["url"], headers=of_bo).status_code == 404


@pytest.mark.timeout(120)
def test_the_curl_line_that_is_printed_works_when_pasted(tmp_path: Path) -> None:
    with Service(tmp_path / "data") as service:
        lines = service.output.replace("\\\n", " ").splitlines()
        (command,) = [line for line in lines if line.strip().startswith("curl")]

        (picture,) = Shell(tmp_path).json(f"{command} -s")

        assert service.call("GET", picture["url"]).headers["Content-Type"] == "image/png"
