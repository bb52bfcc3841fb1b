"""Learning with few labels: one loop with equal supervised steps for every method, one file a method (methods B)."""
