"""What tests share: `from support import eventually`."""

from .folders import open_folder
from .waiting import eventually
from .worker_stream import WorkerStream, worker_stream

__all__ = ["WorkerStream", "eventually", "open_folder", "worker_stream"]
