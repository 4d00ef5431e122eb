"""Writes down who did what: a row of the audit log, and a log line for those who collect them."""

from collections.abc import Iterable

import structlog
from flask import g, request

from api.auth import current_key
from api.services import Services
from darkroom.domain import Action, Outcome, User
from darkroom.errors import Unavailable

log = structlog.get_logger(__name__)

#: Where a caller is who came by no network.
LOCAL = "local"


def audit(
    action: Action,
    services: Services,
    *,
    target: str | None = None,
    fields: Iterable[str] = (),
    outcome: Outcome = Outcome.DONE,
    by: User | None = None,
) -> None:
    """Tell of what the caller just did, or was refused.

    `fields` are names, never values. `by` is who did it where nobody was signed in before. What is
    done holds even if it cannot be written down: then the log line alone tells of it.
    """
    names = sorted(fields)
    user: User | None = by or g.get("user")
    key = current_key() if by is None else None
    try:
        key_id = services.storage.users.key_id(key) if key is not None else None
        services.storage.audit.add(
            action,
            outcome=outcome,
            user_id=user.id if user else None,
            key_id=key_id,
            address=request.remote_addr or LOCAL,
            target=target,
            fields=names,
            request_id=g.request_id,
        )
    except Unavailable as error:
        log.warning("not in the audit log", action=action, reason=error.detail)
    log.info(
        "audit",
        action=str(action),
        outcome=str(outcome),
        by=user.id if user else None,
        address=request.remote_addr or LOCAL,
        target=target,
        fields=names,
    )


def audit_sign_in(email: str, services: Services) -> None:
    """Tell of a sign-in that was refused: the account, if there is one.

    What was typed is not kept: people type passwords into the wrong field.
    """
    account = services.storage.users.by_email(email)
    audit(
        Action.SIGN_IN,
        services,
        target=account.id if account else None,
        outcome=Outcome.REFUSED,
    )
