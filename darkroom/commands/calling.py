"""What commands that use a server have in common: which server, and how they answer."""

import functools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from typing import TYPE_CHECKING, Any

import click

from darkroom.commands.exits import exit_code
from darkroom.errors import DarkroomError

if TYPE_CHECKING:
    from darkroom.client import Client


@dataclass(kw_only=True)
class Caller:
    """How one command was called."""

    server: str | None
    key: str | None
    wants_json: bool
    may_start: bool
    #: Whether the server was started for this command alone.
    runs_here: bool = False

    @contextmanager
    def client(self) -> Iterator["Client"]:
        """A client of the server; of one that runs as long as the block where none is known and
        the person agrees. Raises NoServer, or what `find_server` raises."""
        from darkroom.client import Client
        from darkroom.client.finding import NoServer, find_server

        with ExitStack() as stack:
            try:
                found = find_server(url=self.server, key=self.key)
            except NoServer as error:
                if not self._starts():
                    raise NoServer(
                        f"{error.detail} `--start` runs one here for this command alone."
                    ) from error
                # Half a second, which those who know a server need not wait.
                from darkroom.commands.temporary import running_meanwhile

                found = stack.enter_context(running_meanwhile(self.say))
                self.runs_here = True
            yield stack.enter_context(Client(found.url, found.key or ""))

    def _starts(self) -> bool:
        if self.may_start or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return self.may_start
        return click.confirm(
            "No Darkroom is known here. Run one for this command alone?", default=True, err=True
        )

    def say(self, text: str) -> None:
        """Words for a person; never on stdout, which is for results."""
        click.echo(text, err=True)

    def answer(self, content: Any, *lines: str) -> None:
        """The result: `content` as JSON for a program, or the lines for a person."""
        if self.wants_json:
            click.echo(json.dumps(_plain(content), ensure_ascii=False))
        else:
            for each in lines:
                click.echo(each)


def calling(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a caller, and the `Caller` made of them."""

    @click.option("--server", metavar="URL", help="The Darkroom to use.")
    @click.option("--key", metavar="KEY", help="API key. Others may see it; see DARKROOM_KEY.")
    @click.option("--json", "wants_json", is_flag=True, help="Print the result as JSON.")
    @functools.wraps(command)
    def wrapper(
        server: str | None, key: str | None, wants_json: bool, start: bool = False, **rest: Any
    ) -> Any:
        caller = Caller(server=server, key=key, wants_json=wants_json, may_start=start)
        try:
            return command(caller, **rest)
        except DarkroomError as error:
            if wants_json:
                known = {**error.problem, "code": error.code, "detail": error.detail}
                caller.answer({"error": known})
            caller.say(f"Error: {error.detail}")
            sys.exit(exit_code(error))

    return wrapper


def starting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option to run a Darkroom of its own."""
    return click.option(
        "--start", is_flag=True, help="Where no server is known, run one here meanwhile."
    )(command)


def _plain(content: Any) -> Any:
    """Records as JSON objects."""
    if is_dataclass(content) and not isinstance(content, type):
        return asdict(content)
    if isinstance(content, dict):
        return {name: _plain(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(each) for each in content]
    return content
