"""The verbs: what the RPCs and the loops do, each in transactions of its own."""
