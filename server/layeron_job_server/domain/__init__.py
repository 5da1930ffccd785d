"""The rules, as plain values: standard library only, no clock, no IO."""
