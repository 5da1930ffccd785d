"""The only gRPC: servicers that parse, call one operation, and answer."""
