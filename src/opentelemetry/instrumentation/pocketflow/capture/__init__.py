"""What happens around one flow, node, attempt and batch item, and what the store did there."""
