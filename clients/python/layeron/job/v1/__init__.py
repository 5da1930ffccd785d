"""The contract of Layeron Job, version 1: generated from proto/layeron/job/v1."""
