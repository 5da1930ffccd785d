"""What happens around every RPC of ours."""
