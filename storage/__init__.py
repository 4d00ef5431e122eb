"""What Darkroom remembers: rows in a database, bytes in a file store."""

from dataclasses import dataclass

from darkroom.secrets import SecretBox, service_secrets
from darkroom.settings import Settings
from storage.attempts import Attempts
from storage.audit import Audit
from storage.backlog import Backlog
from storage.batches import Batches
from storage.config import Config
from storage.database import Database
from storage.documents import Documents
from storage.files import Files
from storage.gallery import Gallery
from storage.health import Health
from storage.images import Images
from storage.inputs import Inputs
from storage.jobs import Jobs
from storage.openai_batches import OpenAIBatches
from storage.outlook import Outlook
from storage.retention import Retention
from storage.roles import Roles
from storage.tallies import Tallies
from storage.usage import UsageReports
from storage.users import Users

__all__ = ["Storage", "open_storage"]


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Everything that is kept, opened once per process and safe for its threads."""

    database: Database
    files: Files
    jobs: Jobs
    attempts: Attempts
    backlog: Backlog
    batches: Batches
    openai_batches: OpenAIBatches
    health: Health
    outlook: Outlook
    images: Images
    inputs: Inputs
    documents: Documents
    users: Users
    roles: Roles
    config: Config
    gallery: Gallery
    retention: Retention
    tallies: Tallies
    usage: UsageReports
    audit: Audit

    def close(self) -> None:
        self.database.close()


def open_storage(settings: Settings) -> Storage:
    """Open the database and the file store. Raises SettingsError.

    The schema is not touched: `storage.migrations.upgrade` does that.
    """
    if not settings.is_shared:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database)
    files = Files(settings.storage)
    return Storage(
        database=database,
        files=files,
        jobs=Jobs(database),
        attempts=Attempts(database),
        backlog=Backlog(database),
        batches=Batches(database),
        openai_batches=OpenAIBatches(database),
        health=Health(database),
        outlook=Outlook(database),
        images=Images(database),
        inputs=Inputs(database, files),
        documents=Documents(database, files),
        users=Users(database),
        roles=Roles(database),
        config=Config(database, SecretBox(*service_secrets(settings)), settings.config_defaults),
        gallery=Gallery(database, files),
        retention=Retention(database),
        tallies=Tallies(database),
        usage=UsageReports(database),
        audit=Audit(database),
    )
