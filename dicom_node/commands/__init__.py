"""What single commands do, without a running node."""
