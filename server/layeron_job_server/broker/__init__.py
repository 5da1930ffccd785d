"""The only place in the server that talks to NATS: the stream, its consumers, and rings.

A ring may be lost, late or repeated without harm; what is owed stays in the outbox until JetStream has it.
"""

from .broker import Broker, Publication, connect_when_there
from .connection import BrokerAway, NatsAccess
from .consumers import PRIORITIES, Backlog, consumer_name

__all__ = [
    "PRIORITIES",
    "Backlog",
    "Broker",
    "BrokerAway",
    "NatsAccess",
    "Publication",
    "connect_when_there",
    "consumer_name",
]
