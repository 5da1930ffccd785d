"""The Layeron Job server: durable background jobs over gRPC, PostgreSQL and NATS JetStream."""
