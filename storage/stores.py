"""Object stores by URL, with a limit on how long anything may take.

obstore's own limits add up to three minutes for a store that accepts and never answers.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from obstore.store import from_url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

#: How long a connection may take to be made, in seconds.
CONNECT_S = 3

#: How long a store may be silent before and within an answer, in seconds.
SILENCE_S = 10

#: How long a call may take as a whole, in seconds: an upload is silent until its end.
CALL_S = 60

#: For how long after its begin a call that failed is made again, in seconds. What failed later than
#: that is left to the callers, who know how long it is worth waiting.
RETRY_S = 3

#: What is a secret, and would be shown wherever the URL is.
SECRETS = ("secret", "password", "token", "access_key", "account_key", "sas", "signature")


def open_store(url: str, *, for_uploads: bool) -> "ObjectStore":
    """Open `s3://bucket/prefix`, `gs://…`, `az://…` or `memory:///`; asks nobody.

    What stands after a `?` are options by obstore's names: `endpoint`, `region`,
    `virtual_hosted_style_request`, …; with an endpoint of `http://` the store is called without
    TLS. Raises ValueError or obstore's BaseError for what cannot be used.
    """
    address, _, query = url.partition("?")
    options = dict(parse_qsl(query, strict_parsing=True)) if query else {}
    for name in options:
        if any(word in name.lower() for word in SECRETS):
            raise ValueError(
                f"{name} does not belong into the URL, which is shown; set the variable of the"
                " vendor's name, such as AWS_SECRET_ACCESS_KEY"
            )
    limits: ClientConfig = {
        "connect_timeout": timedelta(seconds=CONNECT_S),
        "timeout": timedelta(seconds=CALL_S),
    }
    if not for_uploads:
        limits["read_timeout"] = timedelta(seconds=SILENCE_S)
    if options.get("endpoint", "").startswith("http://"):
        limits["allow_http"] = True
    retries: RetryConfig = {"max_retries": 10, "retry_timeout": timedelta(seconds=RETRY_S)}
    if urlsplit(address).scheme == "memory":
        return from_url(address)
    config: Any = options
    return from_url(address, config=config, client_options=limits, retry_config=retries)
