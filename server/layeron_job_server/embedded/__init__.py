"""A real PostgreSQL and a real nats-server as child processes, with all their data in one folder. Linux and macOS.

Both listen on 127.0.0.1 alone, run in sessions of their own (Ctrl-C reaches only us, who stop them in order), and
stop when this process ends: on Linux even if it is killed. PostgreSQL asks for a password that is made with the folder,
since its superuser may run programs as the user it runs as; nats-server asks for none, since what JetStream holds here
is made again from PostgreSQL.

PostgreSQL refuses to run as root. For root both run as the system user `layeron-job`, which is made when it is missing.
No folder that exists is ever opened to that user: one that it cannot enter is refused, and the programs of a closed
virtual environment are copied into the data folder.
"""

from .folder import EmbeddedError, default_data, wipe
from .servers import Nats, Postgres

__all__ = ["EmbeddedError", "Nats", "Postgres", "default_data", "wipe"]
