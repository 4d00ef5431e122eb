"""`darkroom login` and `darkroom logout`."""

import socket
import sys

import click

from darkroom.commands.calling import Caller, calling
from darkroom.commands.exits import EXPLAINED
from darkroom.errors import InvalidRequest, NotFound, NotSignedIn, Unavailable


@click.command(epilog=EXPLAINED)
@click.argument("url", required=False)
@click.option("--email", help="Sign in with this e-mail. [default: it is asked for]")
@click.option("--key-stdin", is_flag=True, help="Read an API key from standard input instead.")
@calling
def login(caller: Caller, url: str | None, email: str | None, key_stdin: bool) -> None:
    """Sign in to a server, and use it from now on.

    Asks for e-mail and password, makes an API key and keeps it in your configuration folder, where
    only you can read it. `darkroom logout` revokes it.

    \b
    Examples:
      darkroom login https://pictures.example.org
      darkroom login https://pictures.example.org --key-stdin < key.txt
    """
    from darkroom.client import Client
    from darkroom.client.finding import USUAL_URL
    from darkroom.client.signed_in import Login, keep_login, login_file

    url = url or caller.server or USUAL_URL
    key, key_id = (sys.stdin.readline().strip() if key_stdin else caller.key), None
    if key_stdin and not key:
        raise click.UsageError("--key-stdin was given, but standard input is empty.")
    if key is None:
        email = email or click.prompt("E-mail", err=True)
        password = click.prompt("Password", hide_input=True, err=True)
        with Client(url, "") as client:
            token = client.sign_in(email, password)
        with Client(url, token) as client:
            made = client.create_key(f"darkroom login on {socket.gethostname()}")
        key, key_id = made.api_key, made.id
    with Client(url, key) as client:
        account, url = client.account(), client.url
    try:
        path = keep_login(Login(url=url, key=key, key_id=key_id, email=account.email))
    except OSError as error:
        raise InvalidRequest(f"The key cannot be kept in {login_file()}: {error}.") from error
    caller.answer(
        {"url": url, "email": account.email, "file": str(path)},
        f"Signed in at {url} as {account.email}. The key is in {path}.",
    )


@click.command(epilog=EXPLAINED)
@calling
def logout(caller: Caller) -> None:
    """Forget the server of `darkroom login`, and revoke the key that it made."""
    from darkroom.client import Client
    from darkroom.client.signed_in import forget_login, read_login

    kept = read_login()
    forget_login()
    if kept is not None and kept.key_id is not None:
        try:
            with Client(kept.url, kept.key) as client:
                client.delete_key(kept.key_id)
        except (NotSignedIn, NotFound):
            caller.say("The key was revoked before.")
        except Unavailable as error:
            caller.say(f"The key is forgotten here but was not revoked: {error.detail}")
    url = None if kept is None else kept.url
    caller.answer({"url": url}, f"Signed out of {url}." if url else "Nobody was signed in.")
