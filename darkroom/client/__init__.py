"""Darkroom from Python: `from darkroom.client import Client`.

```python
with Client() as client:
    job = client.generate("a lighthouse at dusk", size="1024x1024", n=2)
    for image in job.images:
        client.files.download(image, ".")
```

What goes wrong is raised as the classes of `darkroom.errors`, the same that the server uses.
"""

from darkroom.client.caller import Client
from darkroom.client.following import NotFinished
from darkroom.client.records import (
    Account,
    Batch,
    BatchResult,
    Counts,
    EngineState,
    Image,
    Job,
    Model,
)
from darkroom.client.transport import Retries

__all__ = [
    "Account",
    "Batch",
    "BatchResult",
    "Client",
    "Counts",
    "EngineState",
    "Image",
    "Job",
    "Model",
    "NotFinished",
    "Retries",
]
